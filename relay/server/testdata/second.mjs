// A client of relays in another language, made from the words of ../../protocol.md alone. It joins, is answered, sends and
// receives, asks for who is not there, and leaves; it prints what it was told, and ends with 1 where the page is wrong.
//
//	node second.mjs udp|websocket HOST:PORT RELAY NODE-PRIVATE TICKET PEER    (the last four in hexadecimal digits)
import crypto from 'node:crypto';
import dgram from 'node:dgram';
import tls from 'node:tls';

const [how, where] = process.argv.slice(2);
const [relay, own, ticket, peer] = process.argv.slice(4).map((text) => Buffer.from(text, 'hex'));
const [, host, port] = /^(.*):(\d+)$/.exec(where);
const hmac = (key, ...parts) => crypto.createHmac('sha256', key).update(Buffer.concat(parts.map((p) => Buffer.from(p)))).digest();
const number = (n, size) => { const b = Buffer.alloc(size); b.writeUIntBE(n, Math.max(0, size - 6), Math.min(6, size)); return b; };

// The key in common. Node wants raw keys in their wrapping of RFC 8410.
const shared = hmac(crypto.diffieHellman({
  privateKey: crypto.createPrivateKey({ key: Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), own]), format: 'der', type: 'pkcs8' }),
  publicKey: crypto.createPublicKey({ key: Buffer.concat([Buffer.from('302a300506032b656e032100', 'hex'), relay]), format: 'der', type: 'spki' }),
}), 'warren relay v1');

// XChaCha20-Poly1305 by what Node has (draft-irtf-cfrg-xchacha).
function cipher(make, nonce, ad) {
  const s = new Uint32Array([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, ...Array.from({ length: 8 }, (_, i) => shared.readUInt32LE(4 * i)),
    ...Array.from({ length: 4 }, (_, i) => nonce.readUInt32LE(4 * i))]);
  const turn = (a, b, n) => { s[a] ^= s[b]; s[a] = (s[a] << n) | (s[a] >>> (32 - n)); };
  const quarter = (a, b, c, d) => { s[a] += s[b]; turn(d, a, 16); s[c] += s[d]; turn(b, c, 12); s[a] += s[b]; turn(d, a, 8); s[c] += s[d]; turn(b, c, 7); };
  for (let i = 0; i < 10; i++) {
    for (let k = 0; k < 4; k++) quarter(k, 4 + k, 8 + k, 12 + k);
    for (let k = 0; k < 4; k++) quarter(k, 4 + ((k + 1) & 3), 8 + ((k + 2) & 3), 12 + ((k + 3) & 3));
  }
  const key = Buffer.alloc(32);
  [0, 1, 2, 3, 12, 13, 14, 15].forEach((w, i) => key.writeUInt32LE(s[w], 4 * i));
  const c = make('chacha20-poly1305', key, Buffer.concat([Buffer.alloc(4), nonce.subarray(16)]), { authTagLength: 16 });
  return c.setAAD(ad);
}
function box(ad, content) {
  const nonce = crypto.randomBytes(24);
  const c = cipher(crypto.createCipheriv, nonce, ad);
  return Buffer.concat([nonce, c.update(content), c.final(), c.getAuthTag()]);
}
function open(ad, sealed) {
  const c = cipher(crypto.createDecipheriv, sealed.subarray(0, 24), ad);
  c.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([c.update(sealed.subarray(24, -16)), c.final()]);
}
const observed = (b) => `${Array.from(b.subarray(12, 16)).join('.')}:${b.readUInt16BE(16)}`; // all are IPv4 here

// What comes is kept by its type, which is the last byte.
const come = {};
let wake = () => {};
function frame(f) {
  (come[f.at(-1)] ??= []).push(f);
  wake();
}

let send; // one frame
let end;
if (how === 'udp') {
  const socket = dgram.createSocket('udp4').on('message', frame);
  await new Promise((done) => socket.connect(+port, host, done));
  send = (f) => socket.send(f);
  end = () => socket.close();
} else {
  const socket = tls.connect({ host, port: +port, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
  let buffer = Buffer.alloc(0);
  await new Promise((done) => {
    socket.on('data', (more) => {
      buffer = Buffer.concat([buffer, more]);
      const head = buffer.indexOf('\r\n\r\n');
      if (send === undefined && head >= 0) {
        if (!buffer.toString('latin1').startsWith('HTTP/1.1 101 ')) throw new Error(buffer.toString('latin1'));
        buffer = buffer.subarray(head + 4);
        send = (f) => { // a message of one frame, masked (RFC 6455, section 5)
          const message = Buffer.concat([number(f.length, 2), f]), mask = crypto.randomBytes(4);
          socket.write(Buffer.concat([Buffer.from([0x82, 0xfe]), number(message.length, 2), mask, message.map((b, i) => b ^ mask[i & 3])]));
        };
        done();
      }
      while (send && buffer.length >= 2) {
        let size = buffer[1] & 0x7f, at = 2;
        if (size === 126) [size, at] = [buffer.length < 4 ? Infinity : buffer.readUInt16BE(2), 4];
        if (buffer.length < at + size) return;
        if ((buffer[0] & 0x0f) === 2) {
          for (let m = buffer.subarray(at, at + size); m.length > 0; m = m.subarray(2 + m.readUInt16BE(0))) frame(m.subarray(2, 2 + m.readUInt16BE(0)));
        }
        buffer = buffer.subarray(at + size);
      }
    });
    socket.write(`GET /relay HTTP/1.1\r\nHost: ${where}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n`
      + `Sec-WebSocket-Key: ${crypto.randomBytes(16).toString('base64')}\r\n\r\n`);
  });
  end = () => socket.destroy();
}

// ask sends what make makes until a frame of the type comes.
async function ask(type, make) {
  for (let tries = 0; tries < 60; tries++) {
    send(make());
    const until = Date.now() + 500;
    while (!come[type]?.length && Date.now() < until) {
      await new Promise((done) => { wake = done; setTimeout(done, 50); });
    }
    if (come[type]?.length) return come[type].shift();
  }
  throw new Error(`no answer of type ${type} came; of these some did: ${Object.keys(come)}`);
}

const nonce = crypto.randomBytes(8);
const hello = Buffer.concat([Buffer.from([1]), nonce]);
const challenge = await ask(4, () => Buffer.concat([hello, hmac(relay, 'warren relay hello v1', hello).subarray(0, 16), Buffer.alloc(1303), Buffer.from([3])]));
if (!challenge.subarray(0, 8).equals(nonce)) throw new Error('the Challenge is another Hello\'s');
const cookie = challenge.subarray(8, 32);

const join = Buffer.concat([cookie, number(ticket.length, 2), ticket]);
const sealed = await ask(6, () => Buffer.concat([join, box(Buffer.concat([join, Buffer.from([5])]), Buffer.from([0])), Buffer.from([5])]));
const welcome = open(Buffer.concat([cookie, Buffer.from([6])]), sealed.subarray(0, -1));
const tag = welcome.subarray(0, 8);
console.log('welcome', observed(welcome.subarray(8)), welcome.readUInt16BE(26));

let counter = 0;
const proven = (type, content) => Buffer.concat([box(Buffer.concat([tag, Buffer.from([type])]), content), tag, Buffer.from([type])]);
const pong = await ask(9, () => proven(8, Buffer.concat([number(++counter, 8), Buffer.alloc(18)])));
if (!pong.subarray(-9, -1).equals(tag)) throw new Error('the Pong is of another session');
const answer = open(Buffer.concat([tag, Buffer.from([9])]), pong.subarray(0, -9));
console.log('pong', answer.readBigUInt64BE(0) <= counter, observed(answer.subarray(8)));

const data = (to, text) => Buffer.concat([Buffer.from(text), to.subarray(0, 8), tag, Buffer.from([1])]);
const back = await ask(1, () => data(peer, 'from another program'));
console.log('data', back.subarray(-17, -9).equals(peer.subarray(0, 8)), back.subarray(-9, -1).equals(tag), back.subarray(0, -17).toString());

const nobody = crypto.randomBytes(32);
const absent = await ask(2, () => data(nobody, 'is anybody there'));
console.log('absent', absent.subarray(0, 8).equals(nobody.subarray(0, 8)), absent.length);

send(proven(10, number(++counter, 8)));
setTimeout(end, 200); // what was written goes out
