// Says what of a function CloudFront's JavaScript runtime 2.0 does not have: one problem a line, and nothing if it has all.
//
// It knows what the manual lists, and refuses all else, though the runtime may have it:
// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-javascript-runtime-20.html
import { readFileSync } from 'node:fs';
import * as acorn from 'acorn';

const MOST_BYTES = 10240;
const MODULES = ['cloudfront', 'crypto', 'querystring', 'buffer'];

// ES 5.1, const, let, async, await, arrow functions, rest parameters, template literals, `**`, and default imports.
const NODES = new Set([
  'Program', 'ImportDeclaration', 'ImportDefaultSpecifier', 'VariableDeclaration', 'VariableDeclarator', 'Identifier',
  'Literal', 'TemplateLiteral', 'TemplateElement', 'FunctionDeclaration', 'FunctionExpression',
  'ArrowFunctionExpression', 'RestElement', 'BlockStatement', 'ExpressionStatement', 'EmptyStatement',
  'ReturnStatement', 'IfStatement', 'SwitchStatement', 'SwitchCase', 'WhileStatement', 'DoWhileStatement',
  'ForStatement', 'ForInStatement', 'BreakStatement', 'ContinueStatement', 'LabeledStatement', 'ThrowStatement',
  'TryStatement', 'CatchClause', 'ThisExpression', 'ArrayExpression', 'ObjectExpression', 'Property',
  'UnaryExpression', 'UpdateExpression', 'BinaryExpression', 'AssignmentExpression', 'LogicalExpression',
  'MemberExpression', 'ConditionalExpression', 'CallExpression', 'NewExpression', 'SequenceExpression',
  'AwaitExpression',
]);
const GLOBALS = new Set([
  'Object', 'String', 'Number', 'Math', 'Date', 'RegExp', 'JSON', 'Array', 'Promise', 'Buffer', 'Symbol', 'Boolean',
  'ArrayBuffer', 'DataView', 'TextDecoder', 'TextEncoder', 'Uint8Array', 'console', 'globalThis', 'decodeURI',
  'decodeURIComponent', 'encodeURI', 'encodeURIComponent', 'isFinite', 'isNaN', 'parseFloat', 'parseInt', 'atob',
  'btoa', 'NaN', 'Infinity', 'undefined', 'arguments', 'require', 'Error', 'EvalError', 'InternalError', 'RangeError',
  'ReferenceError', 'SyntaxError', 'TypeError', 'URIError',
]);
const METHODS = new Set([
  // Object, and Function.
  'create', 'defineProperties', 'defineProperty', 'freeze', 'getOwnPropertyDescriptor', 'getOwnPropertyDescriptors',
  'getOwnPropertyNames', 'getPrototypeOf', 'isExtensible', 'isFrozen', 'isSealed', 'keys', 'preventExtensions', 'seal',
  'assign', 'entries', 'values', 'hasOwnProperty', 'isPrototypeOf', 'propertyIsEnumerable', 'toString', 'valueOf',
  'apply', 'bind', 'call',
  // String.
  'fromCharCode', 'fromCodePoint', 'charAt', 'concat', 'indexOf', 'lastIndexOf', 'match', 'replace', 'search', 'slice',
  'split', 'substr', 'substring', 'toLowerCase', 'trim', 'toUpperCase', 'codePointAt', 'endsWith', 'includes',
  'repeat', 'startsWith', 'padStart', 'padEnd', 'trimStart', 'trimEnd', 'replaceAll',
  // Number, Math and Date, as far as a function has use for them.
  'isFinite', 'isInteger', 'isNaN', 'isSafeInteger', 'parseInt', 'parseFloat', 'toFixed', 'abs', 'ceil', 'floor',
  'max', 'min', 'round', 'now', 'parse', 'getTime', 'toISOString',
  // RegExp, JSON and console.
  'exec', 'test', 'stringify', 'log',
  // Array.
  'isArray', 'of', 'every', 'filter', 'forEach', 'join', 'map', 'pop', 'push', 'reduce', 'reduceRight', 'reverse',
  'shift', 'some', 'sort', 'splice', 'unshift', 'copyWithin', 'fill', 'find', 'findIndex',
  // Buffer, crypto, querystring and the KeyValueStore.
  'from', 'alloc', 'byteLength', 'equals', 'createHash', 'createHmac', 'update', 'digest', 'kvs', 'get', 'exists',
  'count', 'escape', 'unescape', 'decode', 'encode',
]);

const problems = new Set();
const declared = new Set();
const used = new Set();

function check(node, parent) {
  if (!NODES.has(node.type)) {
    problems.add(`${node.type}, line ${node.loc.start.line}`);
  }
  const rule = RULES[node.type];
  if (rule) {
    rule(node, parent);
  }
  for (const [name, child] of Object.entries(node)) {
    for (const each of Array.isArray(child) ? child : [child]) {
      if (each && typeof each.type === 'string') {
        check(each, { node, name });
      }
    }
  }
}

const fail = (node, what) => problems.add(`${what}, line ${node.loc.start.line}`);

const RULES = {
  ImportDeclaration: (node) => MODULES.includes(node.source.value) || fail(node, `the module ${node.source.value}`),
  ImportDefaultSpecifier: (node) => declared.add(node.local.name),
  VariableDeclarator: (node) => declared.add(node.id.name),
  CatchClause: (node) => (node.param ? declared.add(node.param.name) : fail(node, 'catch without a name')),
  FunctionDeclaration: (node) => {
    declared.add(node.id.name);
    checkFunction(node);
  },
  FunctionExpression: (node) => checkClosure(node),
  ArrowFunctionExpression: (node) => checkClosure(node),
  AwaitExpression: (node, parent) =>
    ['init', 'right', 'argument', 'expression'].includes(parent.name) &&
    ['VariableDeclarator', 'AssignmentExpression', 'ReturnStatement', 'ExpressionStatement'].includes(parent.node.type)
      || fail(node, 'await inside an expression'),
  Property: (node) => {
    if (node.shorthand || node.computed || node.method || node.kind !== 'init') {
      fail(node, 'a property that ES 5.1 has no form for');
    }
  },
  AssignmentExpression: (node) => ['&&=', '||=', '??='].includes(node.operator) && fail(node, node.operator),
  LogicalExpression: (node) => node.operator === '??' && fail(node, '??'),
  MemberExpression: (node) => (node.optional || node.property.type === 'PrivateIdentifier') && fail(node, '?.'),
  CallExpression: (node) => {
    const callee = node.callee;
    if (callee.type === 'MemberExpression' && !callee.computed && !METHODS.has(callee.property.name)) {
      fail(node, `the method ${callee.property.name}`);
    }
    if (callee.type === 'Identifier' && callee.name === 'require') {
      const [argument] = node.arguments;
      MODULES.includes(argument && argument.value) || fail(node, 'a module that is not there');
    }
  },
  Literal: (node) => {
    if (node.bigint || (node.regex && (/[^gimy]/.test(node.regex.flags) || /\(\?<[=!]|\\[pP]\{/.test(node.regex.pattern)))) {
      fail(node, `the literal ${node.raw}`);
    }
  },
  Identifier: (node, parent) => {
    const isName = (parent.node.type === 'MemberExpression' && parent.name === 'property' && !parent.node.computed) ||
      (parent.node.type === 'Property' && parent.name === 'key');
    if (!isName) {
      used.add(node.name);
    }
  },
};

function checkFunction(node) {
  if (node.generator) {
    fail(node, 'a generator');
  }
  for (const parameter of node.params) {
    declared.add(parameter.type === 'RestElement' ? parameter.argument.name : parameter.name);
  }
}

function checkClosure(node) {
  checkFunction(node);
  if (node.async) {
    fail(node, 'an async closure');
  }
}

const source = readFileSync(0, 'utf8');
if (Buffer.byteLength(source) > MOST_BYTES) {
  problems.add(`${Buffer.byteLength(source)} bytes, and there may be ${MOST_BYTES}`);
}
try {
  check(acorn.parse(source, { ecmaVersion: 'latest', sourceType: 'module', locations: true }), { node: {}, name: '' });
} catch (error) {
  problems.add(String(error));
}
for (const name of used) {
  if (!declared.has(name) && !GLOBALS.has(name)) {
    problems.add(`the global ${name}`);
  }
}
process.stdout.write([...problems].map((each) => `${each}\n`).join(''));
