// Answers without the origin. functions.json lists the functions that share this file.

// Reason, code under /v2, code elsewhere.
const STATUSES = {
  200: ['OK'],
  400: ['Bad Request', 'NAME_INVALID', 'InvalidParameterException'],
  401: ['Unauthorized', 'UNAUTHORIZED', 'Unauthorized'],
  403: ['Forbidden', 'DENIED', 'AccessDeniedException'],
  404: ['Not Found', 'UNSUPPORTED', 'RouteNotFound'],
  405: ['Method Not Allowed', 'UNSUPPORTED', 'MethodNotAllowed'],
  503: ['Service Unavailable', 'UNAVAILABLE', 'ServiceUnavailable']
};

// `answered` is [status, message], and the repository that was asked for, if there was one; or [200, text].
function answer(answered, event, origin) {
  const status = answered[0];
  const row = STATUSES[status];
  const path = event.request.uri;
  const isOfRegistry = isUnderV2(path) || path === '/token';
  const detail = { code: row[2], retryable: status === 503, requestId: event.context.requestId };
  const type = 'urn:problem-type:ecr-layer-resolver:' + row[2];
  const body = isOfRegistry
    ? { errors: [{ code: row[1], message: answered[1], detail: detail }] }
    : Object.assign({ type: type, title: row[0], status: status, detail: answered[1] }, detail);
  const headers = {
    'content-type': isOfRegistry ? 'application/json' : 'application/problem+json',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff'
  };
  if (isOfRegistry) {
    headers['docker-distribution-api-version'] = 'registry/2.0';
  }
  if (status === 401) {
    headers['www-authenticate'] = challenge(event.request, answered[2]);
  }
  if (status === 405) {
    headers.allow = path === '/token' ? 'GET' : 'GET, HEAD';
  }
  if (status === 503) {
    headers['retry-after'] = '2';
  }
  if (origin) {
    headers['access-control-allow-origin'] = origin;
    headers.vary = 'Origin';
  }
  const text = status === 200 ? answered[1] : JSON.stringify(body);
  return Object.assign(respond(status, row[0], headers), { body: { encoding: 'text', data: text } });
}

// Registry clients fetch a short token; for everything else, Basic is simpler.
function challenge(request, repository) {
  const scheme = CONFIGURATION.tokenScheme;
  if (!scheme || !isUnderV2(request.uri)) {
    return 'Basic realm="' + CONFIGURATION.realm + '"';
  }
  const host = request.headers.host.value;
  const scope = repository ? ',scope="repository:' + written(repository) + ':pull"' : '';
  return 'Bearer realm="' + scheme + '://' + host + '/token",service="' + host + '"' + scope;
}

function written(repository) {
  return (repository.registry ? repository.registry + '/' : '') + repository.name;
}

function isUnderV2(path) {
  return path === '/v2' || path.startsWith('/v2/');
}

function respond(status, reason, headers) {
  const structured = {};
  Object.keys(headers).forEach((name) => {
    structured[name] = { value: headers[name] };
  });
  return { statusCode: status, statusDescription: reason, headers: structured };
}
