// Identifies callers by their credentials. functions.json lists the functions that share this file.
//
// The store has pull tokens under their names: {"sha256": hex, "repositories": ["team/*", "123456789012/app"],
// "notAfter": RFC 3339}, and optionally "notBefore", "paused": true, and "previous": {"sha256", "notAfter"}, the password
// before a rotation. `_signing` has the keys of short tokens: {"keys": [{"id", "key": base64url, "notAfter": seconds since
// 1970, or null}], "notBefore": {rule: seconds since 1970}}. The first key signs.
//
// A short token is base64url(JSON) + '.' + base64url(HMAC-SHA256). docs/keyless.md has the members.
import cf from 'cloudfront';
import crypto from 'crypto';

const PART = '[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*';
const NAME = new RegExp('^' + PART + '(?:/' + PART + ')*$');
const SHORT_TOKEN = /^([A-Za-z0-9_-]{1,2004})\.([A-Za-z0-9_-]{43})$/;
const SIGNING = '_signing';
const WRONG = 'The token is wrong or has expired. Log in again.';
const HEADERS = { name: 'x-ecr-layers-token', rule: 'x-ecr-layers-rule', id: 'x-ecr-layers-token-id' };

// Returns { name, password } of Basic, { name: '', password, isBearer: true } of Bearer, or null.
function credentialsOf(header) {
  const found = header && !header.multiValue && /^(basic|bearer) +([A-Za-z0-9+\/._-]+={0,2})$/i.exec(header.value);
  if (!found) {
    return null;
  }
  if (found[1].toLowerCase() === 'bearer') {
    return { name: '', password: found[2], isBearer: true };
  }
  const text = /^[A-Za-z0-9+\/]+={0,2}$/.test(found[2]) ? Buffer.from(found[2], 'base64').toString() : '';
  const colon = text.indexOf(':');
  const name = text.slice(0, colon);
  const isName = colon > 0 && /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/.test(name);
  return isName ? { name: name, password: text.slice(colon + 1) } : null;
}

// Returns { refusal: [status, message] }, or the caller: `claims` of a short token for it; `name`, `rule` and `id` for the
// log; and `scopes`, lists of patterns that must all cover a repository.
async function identify(credentials) {
  if (!credentials) {
    return refused('Log in with the name and the password of a pull token.');
  }
  try {
    const found = SHORT_TOKEN.exec(credentials.password);
    if (found) {
      const ofShortToken = await readShortToken(found[1], found[2]);
      return ofShortToken;
    }
    if (!credentials.name) {
      return refused(WRONG);
    }
    const ofPullToken = await readPullToken(credentials.name, hashed(credentials.password));
    return ofPullToken;
  } catch (error) {
    return { refusal: [503, 'Tokens cannot be checked now. Try again later.'] };
  }
}

async function readPullToken(name, sha256) {
  const token = await read(name);
  if (!hasPassword(token, sha256)) {
    return refused('The name or password of the pull token is wrong, or it was revoked.');
  }
  if (token.paused) {
    return refused('The pull token is paused. Ask who gave it to you.');
  }
  // An invalid date is neither earlier nor later than now.
  if ('notBefore' in token && !(untilTime(token.notBefore) <= 0)) {
    return refused('The pull token is not valid yet.');
  }
  if (!(untilTime(token.notAfter) > 0)) {
    return refused('The pull token has expired. Ask for a new one.');
  }
  const claims = { token: name, password: sha256.slice(0, 16), repositories: token.repositories };
  return { claims: claims, name: name, scopes: [token.repositories] };
}

// Short tokens carry the first 16 digits of the password's hash.
function hasPassword(token, sha256) {
  const previous = token.previous || {};
  const isPreviousValid = untilTime(previous.notAfter) > 0;
  return [token.sha256].concat(isPreviousValid ? [previous.sha256] : []).some((each) =>
    same(sha256.length === 16 ? String(each).slice(0, 16) : String(each), sha256));
}

// Returns how far in the future a time is; NaN for other text than a date or time of RFC 3339, which engines read alike.
function untilTime(text) {
  return Date.parse(/^\d{4}-\d\d-\d\d(T([01]\d|2[0-3]):\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?$/.test(text) && text) - Date.now();
}

async function readShortToken(payload, signature) {
  const signing = await read(SIGNING);
  const now = Date.now() / 1000;
  const isSigned = keysOf(signing).some((key) => (key.notAfter === null || key.notAfter > now) &&
    same(sign(payload, key), signature));
  const claims = isSigned ? JSON.parse(Buffer.from(payload, 'base64url').toString()) : {};
  if (!(claims.exp > now)) {
    return refused(WRONG);
  }
  if (claims.token) {
    const found = await readPullToken(claims.token, claims.password);
    return found.refusal ? found
      : { claims: claims, name: found.name, id: claims.id, scopes: [claims.repositories, found.scopes[0]] };
  }
  const notBefore = Object.assign({}, signing.notBefore);
  if (claims.rule && Object.keys(notBefore).includes(claims.rule) && !(claims.iat > notBefore[claims.rule])) {
    return refused('The trust rule was revoked. Ask who runs the registry.');
  }
  return { claims: claims, name: claims.sub, rule: claims.rule, id: claims.id, scopes: [claims.repositories] };
}

function keysOf(signing) {
  return Array.isArray(signing.keys) ? signing.keys.filter((each) => each && typeof each.key === 'string') : [];
}

function sign(payload, key) {
  return crypto.createHmac('sha256', Buffer.from(key.key, 'base64url')).update(payload).digest('base64url');
}

// Returns an empty entry if there is none or it isn't JSON; throws if the store can't be read.
async function read(key) {
  const store = cf.kvs();
  // get() fails alike for a missing key and for an unreadable store.
  const isThere = await store.exists(key);
  if (!isThere) {
    return {};
  }
  const value = await store.get(key);
  try {
    return Object.assign({}, JSON.parse(value));
  } catch (error) {
    return {};
  }
}

// Twelve digits in front of a pattern are an account; without one it is of the deployment's own.
function covers(patterns, repository) {
  return Array.isArray(patterns) && patterns.some((each) => {
    const pattern = String(each);
    const registry = /^[0-9]{12}\//.test(pattern) ? pattern.slice(0, 12) : '';
    const name = registry ? pattern.slice(13) : pattern;
    return registry === repository.registry &&
      (name.endsWith('*') ? repository.name.startsWith(name.slice(0, -1)) : repository.name === name);
  });
}

function isFor(who, repository) {
  return who.scopes.every((scope) => covers(scope, repository));
}

function isPublic(repository) {
  return covers(CONFIGURATION.publicRepositories, repository);
}

function hashed(text) {
  return crypto.createHash('sha256').update(text).digest('hex');
}

// Takes the same time wherever the strings differ.
function same(left, right) {
  let difference = left.length ^ right.length;
  for (let i = 0; i < left.length; i++) {
    difference |= left.codePointAt(i) ^ right.codePointAt(i);
  }
  return difference === 0;
}

function refused(message) {
  return { refusal: [401, message] };
}
