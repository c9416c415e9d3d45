// An identity provider: npm `oidc-provider`, on loopback, with keys of its own each time it starts.
// node provider.mjs PORT NAME: NAME is a part of the names of its keys.
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const [port, name] = [Number(process.argv[2]), process.argv[3]];
const key = (kind, options, alg) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }),
  alg,
  kid: `${alg}-${name}`,
  use: 'sig',
});
const client = (id) => ({
  client_id: id,
  client_secret: `secret-of-${id}`,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client('builder'), client('stranger')],
  jwks: {
    keys: [
      key('rsa', { modulusLength: 2048 }, 'RS256'),
      key('ec', { namedCurve: 'P-256' }, 'ES256'),
      key('ed25519', {}, 'EdDSA'),
    ],
  },
  clientDefaults: { token_endpoint_auth_method: 'client_secret_post' },
  extraTokenClaims: (ctx, token) => ({
    groups: token.clientId === 'builder' ? ['builds', 'private-group'] : ['guests'],
  }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      // urn:AUDIENCE:ALGORITHM:SECONDS
      getResourceServerInfo: (ctx, resource) => {
        const [, audience, alg, seconds] = resource.split(':');
        return {
          accessTokenFormat: 'jwt',
          accessTokenTTL: Number(seconds),
          audience,
          jwt: { sign: { alg } },
          scope: '',
        };
      },
    },
  },
});
provider.listen(port, '127.0.0.1', () => console.log('listening'));
