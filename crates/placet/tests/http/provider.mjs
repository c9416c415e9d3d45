// An identity provider: npm `oidc-provider`, on loopback, with keys of its own each time it starts.
// node provider.mjs PORT NAME [REDIRECT]: NAME is a part of the names of its keys, REDIRECT where browsers go
// back to. Whoever says a name at its form is that person: this is about what a relying party does.
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
const browsers = (id, more) => ({
  client_id: id,
  grant_types: ['authorization_code'],
  redirect_uris: process.argv[4] ? [process.argv[4]] : [],
  post_logout_redirect_uris: process.argv[4] ? [process.argv[4].replace('signed-in', 'signed-out')] : [],
  response_types: process.argv[4] ? ['code'] : [],
  ...more,
});
const people = { ana: ['platform', 'private-group'], max: ['guests'] };
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    client('builder'),
    client('stranger'),
    ...(process.argv[4]
      ? [
          browsers('console', {
            client_secret: 'secret-of-console',
            id_token_signed_response_alg: 'ES256',
            token_endpoint_auth_method: 'client_secret_basic',
          }),
          browsers('open', { id_token_signed_response_alg: 'EdDSA', token_endpoint_auth_method: 'none' }),
        ]
      : []),
  ],
  claims: { openid: ['sub'], groups: ['groups'] },
  conformIdTokenClaims: false,
  findAccount: (ctx, id) => people[id] && { accountId: id, claims: () => ({ sub: id, groups: people[id] }) },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  // What is asked for is granted: nobody is asked twice.
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({
      accountId: ctx.oidc.session.accountId,
      clientId: ctx.oidc.client.clientId,
    });
    grant.addOIDCScope('openid groups');
    await grant.save();
    return grant;
  },
  pkce: { required: () => true },
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
    // The page that comes with it asks a font server.
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (ctx, form) => {
        ctx.body = `<!doctype html><title>Provider</title>${form}<button form="op.logoutForm" name="logout" value="yes">Yes, sign me out</button>`;
      },
    },
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
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  if (ctx.method === 'GET') {
    ctx.type = 'html';
    ctx.body = `<!doctype html><title>Provider</title><form method="post"><label>Name <input name="login"></label><button>Go on</button></form>`;
    return undefined;
  }
  let body = '';
  for await (const piece of ctx.req) body += piece;
  ctx.respond = false;
  const accountId = new URLSearchParams(body).get('login');
  return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId } });
});
provider.listen(port, '127.0.0.1', () => console.log('listening'));
