// Passes a request for a layer on to its S3 bucket. CloudFront runs this file for each request under /layers/, before its
// cache, as JavaScript runtime 2.0. docs/edge.md has the rules.
//
// The path behind /layers and the query go on as ECR signed them; S3 checks the signature. The cache key has the whole
// query, so only a client with the same signed URL gets a cached copy, and only until the URL expires.
const SIGNED = {
  'X-Amz-Algorithm': /^AWS4-HMAC-SHA256$/,
  'X-Amz-Credential': /^[A-Za-z0-9%_\/-]{1,300}$/,
  'X-Amz-Date': /^[0-9]{8}T[0-9]{6}Z$/,
  'X-Amz-Expires': /^[0-9]{1,6}$/,
  'X-Amz-Signature': /^[0-9a-f]{64}$/,
  'X-Amz-SignedHeaders': /^host$/
};

function handler(event) {
  const request = event.request;
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return refuse(405, 'Method Not Allowed', 'MethodNotAllowed', 'Only GET and HEAD are served here.');
  }
  const query = request.querystring;
  const isSigned = request.uri.startsWith('/layers/') && Object.keys(SIGNED).every((name) =>
    query[name] && !query[name].multiValue && SIGNED[name].test(query[name].value));
  if (!isSigned) {
    return refuse(403, 'Forbidden', 'AccessDenied', 'This is not the pre-signed URL of a layer. Ask the registry for one.');
  }
  const date = query['X-Amz-Date'].value;
  const signed = Date.parse(date.slice(0, 4) + '-' + date.slice(4, 6) + '-' + date.slice(6, 11) + ':' +
    date.slice(11, 13) + ':' + date.slice(13));
  // What is not a date is not later than now either.
  if (!(signed + query['X-Amz-Expires'].value * 1000 > Date.now())) {
    return refuse(403, 'Forbidden', 'AccessDenied', 'Request has expired');
  }
  // S3 refuses a request that is signed in two ways.
  delete request.headers.authorization;
  request.uri = request.uri.slice('/layers'.length);
  return request;
}

// An error as S3 answers it.
function refuse(status, reason, code, message) {
  return {
    statusCode: status,
    statusDescription: reason,
    headers: {
      'content-type': { value: 'application/xml' },
      'cache-control': { value: 'no-store' },
      'x-content-type-options': { value: 'nosniff' }
    },
    body: {
      encoding: 'text',
      data: '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>' + code + '</Code><Message>' + message +
        '</Message></Error>'
    }
  };
}
