// An OpenID provider for tests. The argument is JSON: the redirect URIs, and the accounts by their subject, each with
// its claims. The first line on stdout is the issuer. It ends when stdin does.
import http from 'node:http';
import Provider from 'oidc-provider';

const { redirect, accounts } = JSON.parse(process.argv[2]);
const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: 'warren', client_secret: 'the-secret-of-the-client', redirect_uris: redirect }],
    claims: { email: ['email', 'email_verified'], profile: ['preferred_username', 'name', 'groups'] },
    cookies: { keys: ['only a test'] },
    pkce: { methods: ['S256'], required: () => true },
    // The consent page of the development pages has no question that a test could learn from.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid email profile');
      await grant.save();
      return grant;
    },
    findAccount: (_, sub) => accounts[sub] && { accountId: sub, claims: () => ({ sub, ...accounts[sub] }) },
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
process.stdin.on('end', () => process.exit(0)).resume();
