// Checks each request before CloudFront's cache, as JavaScript runtime 2.0: ES 5.1 with a few later features.
// docs/edge.md has the rules, and their sources. `CONFIGURATION` is the deployment's: `realm` (the challenge's),
// `publicRepositories` and `allowedOrigins`.
const PART = '[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*';
const NAME = new RegExp('^' + PART + '(?:/' + PART + ')*$');
const ACCOUNT = /^[0-9]{12}$/;
const FIELDS = ['repositoryName', 'registryId', 'layerDigest', 'imageTag', 'imageDigest', 'platform', 'includeEnv'];
const BY_FIELDS = ['/download-url', '/images/download-urls', '/images/config'];
const WITHOUT_REPOSITORY = ['/v2/', '/v2', '/healthz', '/openapi.json'];
const TOKEN_HEADER = 'x-ecr-layers-token';
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
  const credentials = basicCredentials(headers.authorization);
  delete headers.authorization;
  delete headers[TOKEN_HEADER];
  // For what is kept at the edge: a redirect for GET must not answer HEAD. A range is for where the redirect leads.
  headers[METHOD_HEADER] = { value: request.method };
  // For URLs of layers under this host.
  delete headers[HOST_HEADER];
  if (headers.host) {
    headers[HOST_HEADER] = { value: headers.host.value };
  }
  delete headers.range;
  const refusal = await refuse(request, credentials);
  return refusal ? answer(refusal, event, origin) : request;
}

// Returns [status, message], or null; then the request has the name of the token that let it in.
async function refuse(request, credentials) {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return [405, 'Only GET and HEAD are served here. To push, push to ECR itself.'];
  }
  const wanted = read(request);
  if (!wanted) {
    return [400, 'The path or query is invalid or not canonical: no escapes but %2F, %3A and such, nothing twice.'];
  }
  const repository = wanted.repository;
  if (repository && covers(CONFIGURATION.publicRepositories, repository)) {
    return null;
  }
  if (!credentials) {
    return [401, 'Log in with the name and the password of a pull token.'];
  }
  let token;
  try {
    token = await find(credentials.name);
  } catch (error) {
    return [503, 'Pull tokens cannot be checked at the moment. Try again later.'];
  }
  const sha256 = crypto.createHash('sha256').update(credentials.password).digest('hex');
  if (!same(sha256, String(token.sha256))) {
    return [401, 'The name or password of the pull token is wrong, or it was revoked.'];
  }
  // What is not a date is not later than now either.
  if (!(Date.parse(token.notAfter) > Date.now())) {
    return [401, 'The pull token has expired. Ask for a new one.'];
  }
  if (!wanted.isKnown) {
    return [404, 'There is no such route. GET /openapi.json describes those that there are.'];
  }
  if (repository && !covers(token.repositories, repository)) {
    return [403, 'The pull token is not for this repository. Ask for one that is.'];
  }
  request.headers[TOKEN_HEADER] = { value: credentials.name };
  return null;
}

// Returns whether the route is known, and the repository if it has one; null if the request is not canonical.
function read(request) {
  const path = request.uri;
  const query = request.querystring;
  const isOfRegistry = isUnderV2(path);
  const isByFields = BY_FIELDS.includes(path);
  if (/[^A-Za-z0-9._:\/-]|^[^\/]|\/[\/.]/.test(path) || !isCanonical(query, isOfRegistry, isByFields)) {
    return null;
  }
  if (isByFields) {
    const registry = query.registryId ? query.registryId.value : '';
    return target(registry, query.repositoryName ? query.repositoryName.value.replaceAll('%2F', '/') : '');
  }
  // From the end, as the function does: a repository may be called as a route is.
  const parts = isOfRegistry ? path.split('/').slice(2) : [];
  const last = parts.length - 1;
  const kind = parts[last - 1];
  if (last < 2 || parts[last] === '' || !(['blobs', 'manifests', 'referrers'].includes(kind) ||
      (kind === 'tags' && parts[last] === 'list'))) {
    return { isKnown: WITHOUT_REPOSITORY.includes(path), repository: null };
  }
  // Any account: a list could differ from the function's during a deployment, and * would cover its registries.
  const hasRegistry = last > 2 && ACCOUNT.test(parts[0]);
  return target(hasRegistry ? parts[0] : '', parts.slice(hasRegistry ? 1 : 0, last - 1).join('/'));
}

function isUnderV2(path) {
  return path === '/v2' || path.startsWith('/v2/');
}

function target(registry, name) {
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

