// An authorization server: npm `oidc-provider`, on loopback. It gives programs access tokens (JWT) for the resource
// that they name, and knows who they are by a secret.
// node tokens.mjs PORT
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const port = Number(process.argv[2]);
const key = (kind, options, alg) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }),
  alg,
  kid: alg,
  use: 'sig',
});
const client = (id) => ({
  client_id: id,
  client_secret: `secret-of-${id}`,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  token_endpoint_auth_method: 'client_secret_post',
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: ['builder', 'brief', 'both', 'stranger'].map(client),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource, { clientId }) => ({
        accessTokenFormat: 'jwt',
        accessTokenTTL: clientId === 'brief' ? 1 : 600,
        audience: resource,
        jwt: { sign: { alg: 'ES256' } },
        scope: 'mcp:tools mcp:other',
      }),
    },
  },
  jwks: { keys: [key('rsa', { modulusLength: 2048 }, 'RS256'), key('ec', { namedCurve: 'P-256' }, 'ES256')] },
  scopes: ['mcp:tools', 'mcp:other'],
});
provider.listen(port, '127.0.0.1', () => console.error('listening'));
