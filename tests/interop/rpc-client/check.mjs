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

test('dag/put, dag/get and dag/resolve', async () => {
  const leaf = await client.dag.put({ name: 'leaf' }, { storeCodec: 'dag-json' })
  assert.equal(leaf.code, 0x0129)
  const root = await client.dag.put({ list: [1, { deep: leaf }], bytes: bytes('raw') }, { pin: true })
  assert.equal(root.code, 0x71)
  const { value } = await client.dag.get(root)
  assert.deepEqual([value.list[0], Buffer.from(value.bytes).toString()], [1, 'raw'])
  assert.ok(CID.asCID(value.list[1].deep).equals(leaf))
  assert.equal((await client.dag.get(root, { path: '/list/1/deep/name' })).value, 'leaf')
  const end = await client.dag.resolve(`/ipfs/${root}/list/1/deep/name`)
  assert.ok(end.cid.equals(leaf))
  assert.equal(end.remainderPath.replace(/^\//, ''), 'name')
  assert.equal((await all(client.pin.ls({ paths: root })))[0].type, 'recursive')
})

test('dag/export and dag/import', async () => {
  const entries = await all(client.addAll([{ path: 'car/a', content: bytes('a') }, { path: 'car/b', content: bytes('bb') }]))
  const root = entries.find((e) => e.path === 'car').cid
  const archive = await join(client.dag.export(root))
  assert.equal(archive[0] > 0 && archive.subarray(2, 7).toString(), 'eroot')
  const [imported] = await all(client.dag.import([[archive]]))
  assert.ok(imported.root.cid.equals(root))
  assert.equal(imported.root.pinErrorMsg, '')
  await assert.rejects(() => all(client.dag.import([[archive.subarray(0, archive.length - 1)]])), /import failed/)
})

test('block/stat and block/rm', async () => {
  const cid = await client.block.put(bytes('to be removed'))
  assert.equal((await client.block.stat(cid)).size, 13)
  const [removed] = await all(client.block.rm(cid))
  assert.equal(removed.error, undefined)
  const [again] = await all(client.block.rm(cid))
  assert.match(again.error.message, /not found locally/)
  const kept = await client.block.put(bytes('kept'), { pin: true })
  assert.match((await all(client.block.rm(kept)))[0].error.message, /pinned/)
})

test('refs, refs/local and resolve', async () => {
  const entries = await all(client.addAll([{ path: 'refs/a', content: bytes('a') }, { path: 'refs/b/c', content: bytes('cc') }]))
  const of = (path) => entries.find((e) => e.path === path).cid.toString()
  const direct = (await all(client.refs(of('refs')))).map((r) => r.ref)
  assert.deepEqual(direct, [of('refs/a'), of('refs/b')])
  const edges = (await all(client.refs(of('refs'), { recursive: true, edges: true }))).map((r) => r.ref)
  assert.ok(edges.includes(`${of('refs/b')} -> ${of('refs/b/c')}`))
  const here = (await all(client.refs.local())).map((r) => CID.parse(r.ref).multihash.digest.toString())
  assert.ok(here.includes(CID.parse(of('refs/b/c')).multihash.digest.toString()))
  assert.equal(await client.resolve(`/ipfs/${of('refs')}/b/c`), `/ipfs/${of('refs/b/c')}`)
})
