/* An identity provider that others wrote (npm oidc-provider, OpenID-certified), with its own pages.
 *
 *   node server.mjs PORT REDIRECT_URI id_token|userinfo
 *
 * The last word says where it tells about people. The client's secret is in CLIENT_SECRET; with a
 * certificate in CLIENT_CERTIFICATE (PEM) it must sign an assertion instead (private_key_jwt). Where
 * SIGNED_OUT_URI and BACKCHANNEL_LOGOUT_URI are set, it signs people out as well. Whoever types
 * a name of PEOPLE into its sign-in page is that person; any password will do. */

import { X509Certificate, generateKeyPairSync } from 'node:crypto';

import { Provider } from 'oidc-provider';

const [port, redirectUri, place] = process.argv.slice(2);

const PEOPLE = {
  grace: { given_name: 'Grace', family_name: 'Hopper', groups: ['everyone', 'airflow_prod_admin'] },
  edsger: { given_name: 'Edsger', family_name: 'Dijkstra', groups: ['everyone', 'airflow_prod_viewer'] },
  alan: { given_name: 'Alan', family_name: 'Kay', groups: ['everyone'] },
};

const { CLIENT_SECRET, CLIENT_CERTIFICATE, SIGNED_OUT_URI, BACKCHANNEL_LOGOUT_URI } = process.env;
const credentials = CLIENT_CERTIFICATE
  ? {
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [new X509Certificate(CLIENT_CERTIFICATE).publicKey.export({ format: 'jwk' })] },
    }
  : { client_secret: CLIENT_SECRET };

const signingOut = BACKCHANNEL_LOGOUT_URI
  ? {
      post_logout_redirect_uris: [SIGNED_OUT_URI],
      backchannel_logout_uri: BACKCHANNEL_LOGOUT_URI,
      backchannel_logout_session_required: true, // and so the ID token has a sid
    }
  : {};

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

const provider = new Provider(`http://localhost:${port}`, {
  clients: [
    {
      client_id: 'airflow',
      ...credentials,
      ...signingOut,
      redirect_uris: [redirectUri],
    },
  ],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] },
  features: { backchannelLogout: { enabled: true } },
  pkce: { required: () => true },
  claims: {
    openid: ['sub'],
    profile: ['preferred_username', 'name', 'given_name', 'family_name'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  conformIdTokenClaims: place === 'userinfo', // else the claims of all granted scopes are in the ID token too
  async findAccount(ctx, login) {
    const person = PEOPLE[login];
    return person && {
      accountId: login,
      claims: () => ({
        sub: login,
        preferred_username: login,
        name: `${person.given_name} ${person.family_name}`,
        email: `${login}@peer.example`,
        email_verified: true,
        ...person,
      }),
    };
  },
});

provider.listen(Number(port), '127.0.0.1');
