// Answers GET /token: exchanges a client's credentials for a short token, by the Docker token specification
// (https://distribution.github.io/distribution/spec/auth/token/). OIDC tokens go on to the exchange function.
// docs/keyless.md has the rules. `CONFIGURATION` is that of viewer_request.js.
const LIFETIME_SECONDS = 900;
const LONGEST_TOKEN = 2048;
const AUTHORIZATION_HEADER = 'x-ecr-layers-authorization';
const HOST_HEADER = 'x-ecr-layers-host';

async function handler(event) {
  const request = event.request;
  const headers = request.headers;
  const authorization = headers.authorization;
  delete headers.authorization;
  delete headers[AUTHORIZATION_HEADER];
  delete headers[HOST_HEADER];
  if (request.method !== 'GET') {
    return answer([405, 'Only GET is served here.'], event, '');
  }
  const credentials = credentialsOf(authorization);
  if (credentials && !credentials.isBearer && /^[\w-]+\.[\w-]+\.[\w-]*$/.test(credentials.password)) {
    // Origin access control overwrites Authorization itself.
    headers[AUTHORIZATION_HEADER] = { value: authorization.value };
    headers[HOST_HEADER] = { value: headers.host.value };
    return request;
  }
  let who = { claims: { repositories: [] }, scopes: [[]] };
  if (credentials || !CONFIGURATION.publicRepositories.length) {
    who = await identify(credentials);
  }
  if (who.refusal) {
    return answer(who.refusal, event, '');
  }
  const wanted = wantedRepositories(request.querystring.scope);
  const granted = wanted ? wanted.filter((each) => isPublic(each) || isFor(who, each))
    : null;
  if (granted && !granted.length) {
    return answer(credentials ? [403, 'The token is not for this repository. Ask for one that is.']
      : [401, 'Log in with the name and the password of a pull token.'], event, '');
  }
  const issued = await issue(who.claims, granted ? granted.map(written) : who.claims.repositories, event);
  return issued;
}

async function issue(claims, repositories, event) {
  let key;
  try {
    const signing = await read(SIGNING);
    key = keysOf(signing)[0];
  } catch (error) {
    key = null;
  }
  if (!key) {
    return answer([503, 'There is no signing key. The operator makes one with `ecr-layers token rotate-keys`.'], event, '');
  }
  const now = Math.floor(Date.now() / 1000);
  // Exchanging a short token again keeps its expiry.
  const renewed = Object.assign({ iat: now, exp: now + LIFETIME_SECONDS, id: hashed(event.context.requestId).slice(0, 16) },
    claims, { kid: key.id, repositories: repositories });
  const payload = Buffer.from(JSON.stringify(renewed)).toString('base64url');
  const token = payload + '.' + sign(payload, key);
  if (token.length > LONGEST_TOKEN) {
    return answer([400, 'The scope is too long. Ask for fewer repositories at once.'], event, '');
  }
  const body = { token: token, access_token: token, expires_in: renewed.exp - now,
    issued_at: new Date(now * 1000).toISOString() };
  return answer([200, JSON.stringify(body)], event, '');
}

// Returns the repositories of scopes such as `repository:team/app:pull`; null if there are none.
function wantedRepositories(parameter) {
  const values = parameter ? parameter.multiValue || [parameter] : [];
  const scopes = values.map((each) => decoded(each.value)).join(' ').split(' ');
  const found = scopes.filter((each) => /^repository(?:\([a-z0-9]+\))?:/.test(each));
  return found.length ? found.map((each) => parsed(each.split(':')[1])).filter((each) => each) : null;
}

function decoded(text) {
  try {
    return decodeURIComponent(text.replaceAll('+', '%20'));
  } catch (error) {
    return '';
  }
}

function parsed(name) {
  const registry = /^[0-9]{12}\//.test(name) ? name.slice(0, 12) : '';
  const rest = registry ? name.slice(13) : name;
  return NAME.test(rest) && rest.length < 257 ? { registry: registry, name: rest } : null;
}
