// A Helia node for trying ipfs-kit against: Bitswap over TCP is the only way a block can come. One line of JSON per answer.
//
//   node peer.mjs serve [--bytes N] [--files N]     serve a file and a folder until stdin closes
//   node peer.mjs get --peer ADDR --cid CID         fetch a file or a folder from that peer
//   node peer.mjs absent --peer ADDR                want a CID nobody has; the peer must say DONT_HAVE
import { createHash, randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { withBitswap } from '@helia/bitswap'
import { withLibp2pLight } from '@helia/libp2p'
import { unixfs } from '@helia/unixfs'
import { identify, identifyPush } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createHeliaLight } from 'helia'
import { createLibp2p } from 'libp2p'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'

const say = (event, fields) => console.log(JSON.stringify({ event, ...fields }))
const hex = (bytes) => createHash('sha256').update(bytes).digest('hex')

const libp2pOptions = (listen) => ({
  addresses: { listen },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  // js-libp2p accepts five inbound connections a second per host unless told otherwise.
  connectionManager: { inboundConnectionThreshold: 1000, maxIncomingPendingConnections: 100 },
  services: { identify: identify(), identifyPush: identifyPush(), ping: ping() }
})

async function helia (listen) {
  const node = withBitswap(withLibp2pLight(createHeliaLight(), libp2pOptions(listen)))
  await node.start()
  return node
}

// The same bytes on every run, different in every chunk.
function bytesOf (length) {
  const out = new Uint32Array(length / 4)
  for (let i = 0, x = 7; i < out.length; i++) { x ^= x << 13; x ^= x >>> 17; x ^= x << 5; out[i] = x }
  return new Uint8Array(out.buffer)
}

async function serve (size, count) {
  const node = await helia(['/ip4/127.0.0.1/tcp/0'])
  const fs = unixfs(node)
  const content = bytesOf(size)
  const file = await fs.addBytes(content)
  const names = Array.from({ length: count }, (_, i) => `file-${String(i).padStart(4, '0')}.txt`)
  const text = (name) => new TextEncoder().encode(`this is ${name} of the Helia peer\n`)
  let folder
  for await (const entry of fs.addAll(names.map((name) => ({ path: `folder/${name}`, content: text(name) })))) folder = entry.cid
  const listing = hex(names.map((name) => `${name} ${hex(text(name))}\n`).join(''))
  say('serving', {
    peer: node.libp2p.peerId.toString(), addresses: node.libp2p.getMultiaddrs().map(String),
    file: file.toString(), bytes: size, sha256: hex(content), folder: folder.toString(), files: count, listing
  })
  process.stdin.resume()
  await new Promise((resolve) => process.stdin.once('end', resolve))
}

async function get (peer, cid, signal) {
  const node = await helia([])
  await node.libp2p.dial(multiaddr(peer), { signal })
  const fs = unixfs(node)
  const start = performance.now()
  const digest = async (of) => {
    const sum = createHash('sha256'); let bytes = 0
    for await (const part of fs.cat(of, { signal })) { sum.update(part); bytes += part.length }
    return { bytes, sha256: sum.digest('hex') }
  }
  const stat = await fs.stat(cid, { signal })
  const ms = () => Math.round(performance.now() - start)
  if (stat.type !== 'directory') return say('file', { cid: cid.toString(), ...await digest(cid), ms: ms() })
  const entries = []
  for await (const entry of fs.ls(cid, { signal })) entries.push(entry)
  let bytes = 0; const lines = []; let next = 0
  await Promise.all(Array.from({ length: 16 }, async () => {
    while (next < entries.length) {
      const entry = entries[next++]
      const got = await digest(entry.cid)
      bytes += got.bytes
      lines.push(`${entry.name} ${got.sha256}\n`)
    }
  }))
  say('folder', { cid: cid.toString(), bytes, files: lines.length, listing: hex(lines.sort().join('')), ms: ms() })
}

// The few fields of Bitswap's protobuf that this check needs, by hand, so that no engine stands between.
const varint = (n) => { const out = []; while (n > 127) { out.push((n & 127) | 128); n >>>= 7 } out.push(n); return out }
const field = (number, bytes) => [...varint((number << 3) | 2), ...varint(bytes.length), ...bytes]
const number = (id, n) => [...varint(id << 3), ...varint(n)]
const framed = (message) => Uint8Array.from([...varint(message.length), ...message])
const want = (cid, type) => framed(field(1, field(1, [...field(1, cid.bytes), ...number(2, 1), ...number(4, type), ...number(5, 1)])))

function * fields (bytes) {
  for (let at = 0; at < bytes.length;) {
    const read = () => { let n = 0; let shift = 0; let b; do { b = bytes[at++]; n |= (b & 127) << shift; shift += 7 } while (b > 127); return n }
    const tag = read()
    const value = read()
    if ((tag & 7) === 2) { yield [tag >>> 3, bytes.subarray(at, at + value)]; at += value } else yield [tag >>> 3, value]
  }
}

async function absent (peer, signal) {
  const node = await createLibp2p(libp2pOptions([]))
  const protocol = '/ipfs/bitswap/1.2.0'
  const missing = new Map()
  const hear = async (stream) => {
    let held = new Uint8Array(0)
    for await (const part of stream) {
      const more = part instanceof Uint8Array ? part : part.subarray()
      held = Uint8Array.from([...held, ...more])
      for (;;) {
        let length = 0; let at = 0; let shift = 0
        while (at < held.length && held[at] > 127) { length |= (held[at++] & 127) << shift; shift += 7 }
        if (at >= held.length) break
        length |= held[at++] << shift
        if (held.length < at + length) break
        for (const [id, value] of fields(held.subarray(at, at + length))) {
          if (id !== 4) continue
          const presence = Object.fromEntries([...fields(value)])
          if (presence[2] === 1) missing.get(CID.decode(presence[1]).toString())?.()
        }
        held = held.subarray(at + length)
      }
    }
  }
  await node.handle(protocol, (stream) => { hear(stream).catch(() => {}) })
  const connection = await node.dial(multiaddr(peer), { signal })
  for (const [name, type] of [['Have', 1], ['Block', 0]]) {
    const cid = CID.createV1(raw.code, await sha256.digest(randomBytes(32)))
    const answered = new Promise((resolve, reject) => {
      missing.set(cid.toString(), resolve)
      signal.addEventListener('abort', () => reject(new Error(`no DONT_HAVE for a want-${name} of ${cid}`)))
    })
    const start = performance.now()
    const stream = await connection.newStream(protocol, { signal })
    stream.send(want(cid, type))
    await answered
    say('dont-have', { cid: cid.toString(), want: name, ms: Math.round(performance.now() - start) })
    await stream.close()
  }
}

const { positionals: [verb], values } = parseArgs({
  allowPositionals: true,
  options: {
    peer: { type: 'string' }, cid: { type: 'string' }, timeout: { type: 'string', default: '180' },
    bytes: { type: 'string', default: String(64 << 20) }, files: { type: 'string', default: '1000' }
  }
})
try {
  const signal = AbortSignal.timeout(Number(values.timeout) * 1000)
  if (verb === 'serve') await serve(Number(values.bytes), Number(values.files))
  else if (verb === 'get') await get(values.peer, CID.parse(values.cid), signal)
  else if (verb === 'absent') await absent(values.peer, signal)
  else throw new Error('usage: peer.mjs serve|get|absent')
  process.exit(0)
} catch (error) {
  say('failed', { error: String(error?.message ?? error), cause: String(error?.errors ?? error?.cause ?? '') })
  process.exit(1)
}
