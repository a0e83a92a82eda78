// Puts back what a function URL is reported to have renamed: the length of an answer to HEAD. CloudFront runs this file
// for each answer below 400, as JavaScript runtime 2.0. docs/registry.md says which clients need it.
//
// CloudFront lets a function set Content-Length here, as it lists Warning and Via as read-only alone:
// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/edge-functions-restrictions.html
const RENAMED = 'x-amzn-remapped-content-length';

function handler(event) {
  const headers = event.response.headers;
  const length = headers[RENAMED];
  if (length && event.request.method === 'HEAD' && /^[0-9]{1,15}$/.test(length.value)) {
    headers['content-length'] = { value: length.value };
  }
  delete headers[RENAMED];
  return event.response;
}
