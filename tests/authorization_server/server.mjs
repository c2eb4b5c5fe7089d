// An authorization server that Mailchute's authors did not write: rotating refresh tokens, and reuse is punished.
//
//   node server.mjs REDIRECT_URI
//
// Prints its address on the first line of standard output, and ends when its standard input does.
import http from "node:http";
import Provider from "oidc-provider";

const redirectUri = process.argv[2];
const shared = {
  application_type: "native",
  redirect_uris: [redirectUri],
  response_types: ["code"],
  grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
};

const server = http.createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      { ...shared, client_id: "confidential", client_secret: "a-secret-of-the-test", token_endpoint_auth_method: "client_secret_basic" },
      { ...shared, client_id: "public", token_endpoint_auth_method: "none" },
    ],
    scopes: ["contact_data", "account_read", "offline_access"],
    // Only who has no secret must prove itself by PKCE, as at the service.
    pkce: { required: (_ctx, client) => client.clientAuthMethod === "none" },
    // The service gives one to whoever asks for offline_access; this server would want prompt=consent as well.
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed("refresh_token"),
    rotateRefreshToken: true,
    features: { devInteractions: { enabled: true }, deviceFlow: { enabled: true } },
    cookies: { keys: ["only for tests"] },
    findAccount: async (_ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
process.stdin.resume().on("end", () => process.exit(0));
