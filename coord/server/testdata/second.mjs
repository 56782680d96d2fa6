// A machine in another language, made from the words of ../../protocol.md alone: it pins the server, opens a session, registers
// with a pre-auth key, says what it is, follows the netmap until a machine called "later" is there, and logs out. It prints
// what it learnt, and ends with 1 where the page is wrong.
//
//	node second.mjs INVITE AUTH-KEY
import crypto from 'node:crypto';
import https from 'node:https';

const [, base, pin] = /^(https:\/\/[^/]+)\/join#server:([0-9a-f]{64})$/.exec(process.argv[2]);
const authKey = process.argv[3];
const check = (ok, what) => { if (!ok) throw new Error(what); };
const sha256 = (b) => crypto.createHash('sha256').update(b).digest();
const hmac = (key, b) => crypto.createHmac('sha256', key).update(b).digest();
const message = (context, ...parts) => Buffer.concat([context, ...parts].map(sha256));
const raw = (key) => key.export({ format: 'der', type: 'spki' }).subarray(-32); // without the wrapping of RFC 8410
const wrapped = (prefix, b) => crypto.createPublicKey({ key: Buffer.concat([Buffer.from(prefix, 'hex'), b]), format: 'der', type: 'spki' });
const base64 = (b) => b.toString('base64');
const text = (kind, b) => `${kind}:${b.toString('hex')}`;
const bytes = (kind, t) => { check(t.startsWith(`${kind}:`), t); return Buffer.from(t.slice(kind.length + 1), 'hex'); };

const serverKey = wrapped('302a300506032b6570032100', Buffer.from(pin, 'hex'));
const machine = crypto.generateKeyPairSync('ed25519');
const node = crypto.generateKeyPairSync('x25519');

// Any certificate is taken until the hello has come, and only that one then.
let served;
const agent = new https.Agent({ keepAlive: true, maxCachedSessions: 0, rejectUnauthorized: false, minVersion: 'TLSv1.3' });
function request(method, path, body, token, whole = true) {
  return new Promise((done, failed) => {
    const headers = { 'Content-Type': 'application/json', ...(token && { Authorization: `Bearer ${token}` }) };
    const r = https.request(base + path, { method, agent, headers }, async (answer) => {
      if (!whole) return done(answer);
      let all = '';
      for await (const part of answer) all += part;
      const value = JSON.parse(all);
      if (value.error) return failed(new Error(`${path}: ${answer.statusCode} ${value.error.code}`));
      done(value);
    });
    r.on('error', failed);
    r.on('socket', (s) => {
      const look = () => {
        const now = sha256(s.getPeerCertificate().raw);
        served ??= now;
        check(served.equals(now), 'another certificate is served');
      };
      if (s.secureConnecting) s.once('secureConnect', look);
    });
    r.end(body && JSON.stringify(body));
  });
}

const mine = crypto.randomBytes(32);
const hello = await request('POST', '/v1/hello', { nonce: base64(mine) });
check(hello.server === text('server', Buffer.from(pin, 'hex')), 'it is another server');
const nonce = Buffer.from(hello.nonce, 'base64'), cert = Buffer.from(hello.cert ?? '', 'base64'), challenge = bytes('challenge', hello.challenge);
check(crypto.verify(null, message('warren hello v1', mine, nonce, cert, challenge), serverKey, Buffer.from(hello.sig, 'base64')), 'the hello is not signed');
check(cert.equals(served), 'the certificate is not the one that the hello names');

const session = await request('POST', '/v1/session', {
  machine: text('machine', raw(machine.publicKey)), nonce: base64(nonce), clientNonce: base64(mine),
  sig: base64(crypto.sign(null, message('warren session v1', Buffer.from(pin, 'hex'), nonce, mine), machine.privateKey)),
});
check(session.registered === false, 'a stranger is a member');

const dh = crypto.diffieHellman({ privateKey: node.privateKey, publicKey: wrapped('302a300506032b656e032100', challenge) });
const registered = await request('POST', '/v1/register', {
  node: text('node', raw(node.publicKey)), hostname: 'second', authKey, os: 'linux', version: 'second',
  proof: base64(hmac(hmac(dh, 'warren register v1'), message('warren register v1', raw(machine.publicKey), nonce))),
}, session.token);
check(registered.registered, 'it is not registered');
await request('POST', '/v1/node', {
  disco: text('disco', raw(crypto.generateKeyPairSync('x25519').publicKey)), endpoints: [{ addr: '203.0.113.7:41641', kind: 'local' }], relay: 0,
  hostname: 'second', os: 'linux', version: 'second',
}, session.token);

// The stream: lines that follow one another, each signed for this session.
let netmap, seq = 0;
const number = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(n)); return b; };
function take(line) {
  const [, now, prev, sig, body] = /^(\d+) (\d+) (\S+) (.*)$/s.exec(line);
  check(crypto.verify(null, message('warren netmap v1', nonce, raw(machine.publicKey), Buffer.concat([number(now), number(prev)]), body), serverKey,
    Buffer.from(sig, 'base64')), 'a line is not signed');
  const { full, changes = [] } = JSON.parse(body);
  check(full ? +prev === 0 : +prev === seq, `the line ${now} comes after ${prev}, not ${seq}`);
  seq = +now;
  if (full) netmap = { ...full, peers: full.peers ?? [] };
  for (const c of changes) {
    check(Object.keys(c).length === 1, `a change has ${Object.keys(c)}`);
    const out = (id) => { netmap.peers = netmap.peers.filter((p) => p.id !== id); };
    if (c.upsert && c.upsert.id === netmap.self?.id) netmap.self = c.upsert;
    else if (c.upsert) { out(c.upsert.id); netmap.peers.push(c.upsert); }
    else if (c.remove) out(c.remove);
    else if (c.self) { out(c.self.id); netmap.self = c.self; }
    else Object.assign(netmap, c);
  }
}
const stream = await request('GET', '/v1/netmap', undefined, session.token, false);
let buffer = '', ready = false;
stream.setEncoding('utf8');
for await (const part of stream) {
  buffer += part;
  for (let end; (end = buffer.indexOf('\n')) >= 0; buffer = buffer.slice(end + 1)) if (end > 0) take(buffer.slice(0, end));
  if (!netmap?.self || !netmap.ticket) continue;
  if (!ready) {
    const ticket = Buffer.from(netmap.ticket, 'base64');
    check(ticket.length === 137 && ticket[0] === 1 && ticket.subarray(1, 33).equals(Buffer.from(pin, 'hex')) && ticket.subarray(33, 65).equals(raw(node.publicKey))
      && crypto.verify(null, message('warren relay ticket v1', ticket.subarray(0, 73)), serverKey, ticket.subarray(73)), 'the ticket is not ours');
    console.log('self', netmap.self.name, netmap.self.key === text('node', raw(node.publicKey)), netmap.peers.map((p) => p.name).sort().join());
    ready = true;
  }
  if (netmap.peers.some((p) => p.name === 'later')) break;
}
console.log('later', netmap.peers.map((p) => p.name).sort().join());
await request('POST', '/v1/logout', {}, session.token);
agent.destroy();
