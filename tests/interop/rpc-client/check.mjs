// Runs each verb that the daemon offers under /api/v0 through kubo-rpc-client, the client that programs written for Kubo use.
//   node check.mjs API_URL OTHER_PEER_MULTIADDR
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { create } from 'kubo-rpc-client'
import { CID } from 'multiformats/cid'

const [url, other] = process.argv.slice(2)
const client = create({ url, timeout: 30_000 })
const bytes = (text) => new TextEncoder().encode(text)
const join = async (source) => { const parts = []; for await (const part of source) parts.push(Buffer.from(part)); return Buffer.concat(parts) }
const all = async (source) => { const out = []; for await (const item of source) out.push(item); return out }
const HELLO = 'Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD'

test('version', async () => { const v = await client.version(); assert.ok(v.version); })

test('id', async () => {
  const id = await client.id()
  assert.match(id.id.toString(), /^12D3Koo/)
  assert.match(id.agentVersion, /^ipfs-kit\//)
  assert.ok(id.addresses.length > 0)
  assert.ok(id.protocols.includes('/ipfs/bitswap/1.2.0'))
})

test('add: one file, the CID Kubo gives', async () => {
  const added = await client.add({ path: 'hello', content: bytes('hello world') })
  assert.equal(added.cid.toString(), HELLO)
  assert.equal(added.path, 'hello')
})

test('add: a folder', async () => {
  const entries = await all(client.addAll([
    { path: 'folder/a.txt', content: bytes('a') },
    { path: 'folder/deep/b.txt', content: bytes('bb') }
  ]))
  const root = entries.find((e) => e.path === 'folder')
  assert.ok(root, 'the folder itself is among the answers')
  const names = (await all(client.ls(root.cid))).map((e) => `${e.name} ${e.type}`).sort()
  assert.deepEqual(names, ['a.txt file', 'deep dir'])
})

test('add: without a pin', async () => {
  const added = await client.add(bytes('nobody pins this'), { pin: false })
  const pins = await all(client.pin.ls({ type: 'recursive' }))
  assert.ok(!pins.some((p) => p.cid.equals(added.cid)))
})

test('add and cat: 5 MiB and a range of it', async () => {
  const content = Buffer.alloc(5 << 20, 'abcdefgh')
  const { cid } = await client.add(content)
  assert.ok((await join(client.cat(cid))).equals(content))
  const part = await join(client.cat(cid, { offset: 262_140, length: 10 }))
  assert.equal(part.toString(), content.subarray(262_140, 262_150).toString())
})

test('cat: a path below a folder', async () => {
  const entries = await all(client.addAll([{ path: 'dir/inside.txt', content: bytes('inside') }]))
  const root = entries.find((e) => e.path === 'dir')
  assert.equal((await join(client.cat(`/ipfs/${root.cid}/inside.txt`))).toString(), 'inside')
})

test('cat: a folder is an error with a reason', async () => {
  const entries = await all(client.addAll([{ path: 'dir/inside.txt', content: bytes('inside') }]))
  const root = entries.find((e) => e.path === 'dir')
  await assert.rejects(() => join(client.cat(root.cid)), /director|folder/i)
})

test('get: a tar of a file', async () => {
  const { cid } = await client.add(bytes('hello world'))
  const tar = await join(client.get(cid))
  assert.equal(tar.length % 512, 0)
  assert.equal(execFileSync('tar', ['-t'], { input: tar }).toString().trim(), cid.toString())
  assert.equal(execFileSync('tar', ['-xO'], { input: tar }).toString(), 'hello world')
})

test('ls', async () => {
  const entries = await all(client.addAll([{ path: 'list/one', content: bytes('1') }, { path: 'list/two', content: bytes('22') }]))
  const root = entries.find((e) => e.path === 'list')
  const listed = await all(client.ls(root.cid))
  assert.deepEqual(listed.map((e) => [e.name, e.type]), [['one', 'file'], ['two', 'file']])
  assert.ok(listed.every((e) => CID.asCID(e.cid)))
})

test('block/put and block/get', async () => {
  const cid = await client.block.put(bytes('a raw block'), { format: 'raw' })
  assert.equal(cid.code, 0x55)
  assert.equal(Buffer.from(await client.block.get(cid)).toString(), 'a raw block')
})

test('pin/add, pin/ls, pin/rm', async () => {
  const { cid } = await client.add(bytes('to be pinned'), { pin: false })
  assert.ok((await client.pin.add(cid)).equals(cid))
  const listed = await all(client.pin.ls({ paths: cid }))
  assert.equal(listed[0].type, 'recursive')
  assert.ok((await client.pin.rm(cid)).equals(cid))
  await assert.rejects(() => all(client.pin.ls({ paths: cid })), /not pinned/)
  await assert.rejects(() => client.pin.rm(cid), /not pinned/)
})

test('swarm/connect and swarm/peers', async () => {
  await client.swarm.connect(other)
  const peers = await client.swarm.peers()
  assert.ok(peers.some((p) => other.endsWith(p.peer.toString())))
})

test('a malformed CID is an error', async () => {
  await assert.rejects(() => join(client.cat('not-a-cid')))
  await assert.rejects(() => client.pin.add('not-a-cid'))
})
