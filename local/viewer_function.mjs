// Runs a CloudFront function in Node: what JavaScript runtime 2.0 has, and nothing else of Node.
//
// Reads one JSON object a line, and writes one for each:
// - {"source": the file's text} loads the function; answers {"loaded": true};
// - {"event": a viewer-request event, "store": {key: value, …}} calls it; answers {"returned": what it returned}. A store
//   that is null can't be read, and neither can a value that is.
// What fails is answered {"error": message}; CloudFront answers 503 then.
//
// Started as: node --experimental-vm-modules --no-warnings viewer_function.mjs
import { createHash, createHmac } from 'node:crypto';
import { createInterface } from 'node:readline';
import vm from 'node:vm';

// What ES has beside the globals that CloudFront's list has:
// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-javascript-runtime-20.html
const ABSENT = [
  'AggregateError', 'Atomics', 'BigInt', 'BigInt64Array', 'BigUint64Array', 'FinalizationRegistry', 'Function', 'Intl',
  'Iterator', 'Map', 'Proxy', 'Reflect', 'Set', 'SharedArrayBuffer', 'SuppressedError', 'WeakMap', 'WeakRef', 'WeakSet',
  'WebAssembly', 'DisposableStack', 'AsyncDisposableStack', 'Float16Array', 'escape', 'eval', 'unescape',
];

let store = {};
let handler = null;

// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-custom-methods.html
const FORMATS = { string: (value) => value, json: JSON.parse, bytes: (value) => Buffer.from(value) };
const keyValueStore = {
  async get(key, options) {
    const value = read()[key];
    if (value === undefined) {
      throw new Error('KeyNotFound');
    }
    if (value === null) {
      throw new Error('The value can not be read.');
    }
    const format = (options && options.format) || 'string';
    if (!(format in FORMATS)) {
      throw new Error(`There is no format ${format}.`);
    }
    return FORMATS[format](value);
  },
  async exists(key) {
    return read()[key] !== undefined;
  },
  async count() {
    return Object.keys(read()).length;
  },
  async meta() {
    const moment = new Date().toISOString();
    return { creationDateTime: moment, lastUpdatedDateTime: moment, keyCount: Object.keys(read()).length };
  },
};

function read() {
  if (store === null) {
    throw new Error('The store can not be read.');
  }
  return Object.assign(Object.create(null), store);
}

async function load(source) {
  const context = vm.createContext({ Buffer, atob, btoa, console: { log() {} }, TextDecoder, TextEncoder }, {
    codeGeneration: { strings: false, wasm: false },
  });
  vm.runInContext(ABSENT.map((name) => `delete globalThis.${name};`).join(''), context);
  const modules = { cloudfront: { kvs: () => keyValueStore }, crypto: { createHash, createHmac } };
  const module = new vm.SourceTextModule(`${source}\nexport { handler };`, { context });
  await module.link((name) => {
    if (!(name in modules)) {
      throw new Error(`CloudFront has no module ${name} that this stand-in has.`);
    }
    return new vm.SyntheticModule(['default'], function () {
      this.setExport('default', modules[name]);
    }, { context });
  });
  await module.evaluate();
  handler = module.namespace.handler;
}

async function answer(message) {
  if (message.source !== undefined) {
    await load(message.source);
    return { loaded: true };
  }
  store = message.store;
  return { returned: await handler(message.event) };
}

for await (const line of createInterface({ input: process.stdin })) {
  let answered;
  try {
    answered = await answer(JSON.parse(line));
  } catch (error) {
    answered = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answered)}\n`);
}
