// Reads credentials, and the store of tokens. infra/edge_functions.py joins this file with others into one function.
//
// The store has, by a token's name, {"sha256": hex, "repositories": ["team/*", "123456789012/app"], "notAfter": RFC 3339}.
import cf from 'cloudfront';
import crypto from 'crypto';

function basicCredentials(header) {
  const found = header && !header.multiValue && /^basic +([A-Za-z0-9+\/]+={0,2})$/i.exec(header.value);
  const text = found ? Buffer.from(found[1], 'base64').toString() : '';
  const colon = text.indexOf(':');
  const name = text.slice(0, colon);
  const isName = colon > 0 && /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/.test(name);
  return isName ? { name: name, password: text.slice(colon + 1) } : null;
}

// Returns an empty token if there is none; throws if the store cannot be read.
async function find(name) {
  const store = cf.kvs();
  let value;
  let failure = null;
  try {
    value = await store.get(name);
  } catch (error) {
    failure = error;
  }
  if (failure) {
    // get() fails for a key that is not there too.
    const isThere = await store.exists(name);
    if (isThere) {
      throw failure;
    }
    return {};
  }
  try {
    return JSON.parse(value) || {};
  } catch (error) {
    return {};
  }
}

// Takes the same time wherever the strings differ.
function same(left, right) {
  let difference = left.length ^ right.length;
  for (let i = 0; i < left.length; i++) {
    difference |= left.codePointAt(i) ^ right.codePointAt(i);
  }
  return difference === 0;
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

