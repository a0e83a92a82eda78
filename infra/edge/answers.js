// What a function at the edge answers by itself. infra/edge_functions.py joins this file with others into one function.
// Reason, code under /v2, code elsewhere.
const REFUSALS = {
  400: ['Bad Request', 'NAME_INVALID', 'InvalidParameterException'],
  401: ['Unauthorized', 'UNAUTHORIZED', 'Unauthorized'],
  403: ['Forbidden', 'DENIED', 'AccessDeniedException'],
  404: ['Not Found', 'UNSUPPORTED', 'RouteNotFound'],
  405: ['Method Not Allowed', 'UNSUPPORTED', 'MethodNotAllowed'],
  503: ['Service Unavailable', 'UNAVAILABLE', 'ServiceUnavailable']
};

function answer(refusal, event, origin) {
  const status = refusal[0];
  const row = REFUSALS[status];
  const isOfRegistry = isUnderV2(event.request.uri);
  const detail = { code: row[2], retryable: status === 503, requestId: event.context.requestId };
  const type = 'urn:problem-type:ecr-layer-resolver:' + row[2];
  const body = isOfRegistry
    ? { errors: [{ code: row[1], message: refusal[1], detail: detail }] }
    : Object.assign({ type: type, title: row[0], status: status, detail: refusal[1] }, detail);
  const headers = {
    'content-type': isOfRegistry ? 'application/json' : 'application/problem+json',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff'
  };
  if (isOfRegistry) {
    headers['docker-distribution-api-version'] = 'registry/2.0';
  }
  if (status === 401) {
    headers['www-authenticate'] = 'Basic realm="' + CONFIGURATION.realm + '"';
  }
  if (status === 405) {
    headers.allow = 'GET, HEAD';
  }
  if (status === 503) {
    headers['retry-after'] = '2';
  }
  if (origin) {
    headers['access-control-allow-origin'] = origin;
    headers.vary = 'Origin';
  }
  return Object.assign(respond(status, row[0], headers), { body: { encoding: 'text', data: JSON.stringify(body) } });
}

function respond(status, reason, headers) {
  const structured = {};
  Object.keys(headers).forEach((name) => {
    structured[name] = { value: headers[name] };
  });
  return { statusCode: status, statusDescription: reason, headers: structured };
}
