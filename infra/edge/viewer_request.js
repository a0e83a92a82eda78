// Checks each request before CloudFront's cache, as JavaScript runtime 2.0: ES 5.1 with a few later features.
// docs/edge.md has the rules, and their sources.
//
// `CONFIGURATION` has the deployment's `realm` for challenges, `publicRepositories`, `allowedOrigins`, `catalog` (the
// repositories of /v2/_catalog; empty turns it off), and `tokenScheme` (`https` if clients get short tokens at /token,
// empty if not).
const ACCOUNT = /^[0-9]{12}$/;
const FIELDS = ['repositoryName', 'registryId', 'layerDigest', 'imageTag', 'imageDigest', 'platform', 'includeEnv'];
const BY_FIELDS = ['/download-url', '/images/download-urls', '/images/config'];
const WITHOUT_REPOSITORY = ['/v2/', '/v2', '/healthz', '/openapi.json'];
const METHOD_HEADER = 'x-ecr-layers-method';
const HOST_HEADER = 'x-ecr-layers-host';

async function handler(event) {
  const request = event.request;
  const headers = request.headers;
  const origin = allowedOrigin(headers);
  if (request.method === 'OPTIONS' && origin && headers['access-control-request-method']) {
    return respond(204, 'No Content', {
      'access-control-allow-origin': origin,
      'access-control-allow-methods': 'GET, HEAD',
      'access-control-allow-headers': 'accept, authorization, content-type, if-none-match',
      'access-control-max-age': '3600',
      vary: 'Origin'
    });
  }
  const credentials = credentialsOf(headers.authorization);
  delete headers.authorization;
  Object.keys(HEADERS).forEach((name) => {
    delete headers[HEADERS[name]];
  });
  // For what is kept at the edge: a redirect for GET must not answer HEAD. A range is for where the redirect leads.
  headers[METHOD_HEADER] = { value: request.method };
  // For URLs of layers under this host.
  delete headers[HOST_HEADER];
  if (headers.host) {
    headers[HOST_HEADER] = { value: headers.host.value };
  }
  delete headers.range;
  const answered = await decide(request, credentials);
  return answered ? answer(answered, event, origin) : request;
}

// Returns [status, message, repository] of an answer; or null, with the caller in the request's headers.
async function decide(request, credentials) {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return [405, 'Only GET and HEAD are served here. To push, push to ECR itself.'];
  }
  const wanted = target(request);
  if (!wanted) {
    return [400, 'The path or query is invalid or not canonical. Escape only what must be, in upper case, and repeat nothing.'];
  }
  const repository = wanted.repository;
  if (repository && isPublic(repository)) {
    return null;
  }
  const who = await identify(credentials);
  if (who.refusal) {
    return who.refusal.concat([repository]);
  }
  if (!wanted.isKnown) {
    return [404, 'There is no such route. GET /openapi.json describes those that there are.'];
  }
  if (repository && !isFor(who, repository)) {
    // 401 makes the client fetch a token for this repository.
    return [credentials.isBearer ? 401 : 403, 'The token is not for this repository. Ask for one that is.', repository];
  }
  if (request.uri === '/v2/_catalog') {
    return [200, JSON.stringify({ repositories: CONFIGURATION.catalog.filter((each) =>
      isFor(who, { registry: '', name: each })) })];
  }
  Object.keys(HEADERS).forEach((name) => {
    if (who[name]) {
      request.headers[HEADERS[name]] = { value: who[name] };
    }
  });
  return null;
}

// Returns whether the route is known, and the repository if it has one; null if the request is not canonical.
function target(request) {
  // BuildStream and .NET's HttpClient escape a digest's colon; function and cache expect one spelling.
  const path = request.uri.replace(/%3a/gi, ':');
  const query = request.querystring;
  const isOfRegistry = isUnderV2(path);
  const isByFields = BY_FIELDS.includes(path);
  if (/[^A-Za-z0-9._:\/-]|^[^\/]|\/[\/.]/.test(path) || !isCanonical(query, isOfRegistry, isByFields)) {
    return null;
  }
  request.uri = path;
  if (isByFields) {
    const registry = query.registryId ? query.registryId.value : '';
    return repositoryOf(registry, query.repositoryName ? query.repositoryName.value.replaceAll('%2F', '/') : '');
  }
  // From the end, as the function does: a repository may be called as a route is.
  const parts = isOfRegistry ? path.split('/').slice(2) : [];
  const last = parts.length - 1;
  const kind = parts[last - 1];
  if (last < 2 || parts[last] === '' || !(['blobs', 'manifests', 'referrers'].includes(kind) ||
      (kind === 'tags' && parts[last] === 'list'))) {
    const isKnown = WITHOUT_REPOSITORY.includes(path) || (path === '/v2/_catalog' && CONFIGURATION.catalog.length > 0);
    return { isKnown: isKnown, repository: null };
  }
  // Any account: a list could differ from the function's during a deployment, and * would cover its registries.
  const hasRegistry = last > 2 && ACCOUNT.test(parts[0]);
  return repositoryOf(hasRegistry ? parts[0] : '', parts.slice(hasRegistry ? 1 : 0, last - 1).join('/'));
}

function repositoryOf(registry, name) {
  const isValid = name.length > 1 && name.length < 257 && NAME.test(name) && (!registry || ACCOUNT.test(registry));
  return isValid ? { isKnown: true, repository: { registry: registry, name: name } } : null;
}

// The function decodes names and values, and joins values that are repeated: here each has one spelling.
function isCanonical(query, isOfRegistry, isByFields) {
  return Object.keys(query).every((name) => {
    const isAdmitted = isByFields ? FIELDS.includes(name)
      : !isOfRegistry || !['repositoryname', 'registryid'].includes(name.toLowerCase());
    const value = query[name].value;
    // RFC 3986, section 6.2.2: upper-case digits, and what need not be escaped is not.
    return isAdmitted && !query[name].multiValue && /^[A-Za-z][A-Za-z0-9_-]*$/.test(name) &&
      /^(?:[A-Za-z0-9._~:\/@,=-]|%[0-9A-F]{2})*$/.test(value) &&
      !/%(?:2[DE]|3[0-9]|[46][1-9A-F]|[57][0-9A]|5F|7E)/.test(value) && !(name === 'registryId' && value === '');
  });
}

function allowedOrigin(headers) {
  const origin = headers.origin ? headers.origin.value : '';
  const allowed = CONFIGURATION.allowedOrigins;
  return allowed.includes(origin) || allowed.includes('*') ? origin : '';
}

