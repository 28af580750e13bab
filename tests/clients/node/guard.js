// What stands before a registry that not everybody may ask: TLS by OpenSSL, and a client certificate or a token of an issuer
// (oidc-provider, which is certified for OpenID). Not a registry: what it lets in it passes on.
//
//   node guard.js open|certificate|token|user|both PORT ISSUER_PORT REGISTRY_PORT FOLDER
//
// `open` lets everybody in, `both` asks for a certificate and a user.
// FOLDER holds server.crt, server.key and ca.crt, FOLDER/issuer those of the issuer. It writes "ready" when it listens.
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const path = require('node:path');
const { pathToFileURL } = require('node:url');

const [guard, port, issuerPort, registryPort, folder] = process.argv.slice(2);
const file = (name) => fs.readFileSync(path.join(folder, name));
const scopes = ['schemas', 'schema-registry'];
const users = ['backup:pass:word', 'admin:password'].map((user) => `Basic ${Buffer.from(user).toString('base64')}`);
const tls = { cert: file('server.crt'), key: file('server.key') };

async function issuer() {
  const main = path.join(process.env.NODE_PATH, 'oidc-provider', 'lib', 'index.js');
  const { Provider } = await import(pathToFileURL(main));
  const provider = new Provider(`https://localhost:${issuerPort}`, {
    clients: [{
      client_id: 'backup', client_secret: 'backup:secret+1%& ~', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
      scope: scopes.join(' '),
    }],
    scopes,
    features: { clientCredentials: { enabled: true } },
    // Renewed while a long copy is under way.
    ttl: { ClientCredentials: 5 },
  });
  const answer = provider.callback();
  const of = (name) => file(path.join('issuer', name));
  // It would like a certificate, and refuses whoever shows what is for the registry.
  const asks = { cert: of('server.crt'), key: of('server.key'), requestCert: true, rejectUnauthorized: false };
  const server = https.createServer(asks, (request, response) => {
    if (request.headers['x-api-key'] || Object.keys(request.socket.getPeerCertificate() ?? {}).length > 0) {
      response.writeHead(418).end();
      return;
    }
    answer(request, response);
  });
  await new Promise((listening) => server.listen(issuerPort, '127.0.0.1', listening));
  return provider;
}

async function main() {
  const provider = guard === 'token' ? await issuer() : null;
  const isUser = (authorization) => users.includes(authorization);
  const isKnown = {
    open: () => true,
    certificate: () => true,
    user: isUser,
    both: isUser,
    token: async (authorization) => {
      const token = await provider.ClientCredentials.find((authorization ?? '').replace(/^Bearer /, ''));
      return token !== undefined && token.isValid && scopes.includes(token.scope);
    },
  }[guard];
  const asks = ['certificate', 'both'].includes(guard) ? { ca: file('ca.crt'), requestCert: true, rejectUnauthorized: true } : {};
  const server = https.createServer({ ...tls, ...asks }, async (request, response) => {
    if (!await isKnown(request.headers.authorization)) {
      response.writeHead(401, { 'Content-Type': 'application/json' });
      response.end('{"error_code":401,"message":"Unauthorized"}');
      return;
    }
    const { method, url, headers } = request;
    const passed = http.request({ host: '127.0.0.1', port: registryPort, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passed.on('error', () => response.destroy());
    request.pipe(passed);
  });
  server.listen(port, '127.0.0.1', () => console.log('ready'));
}

main();
