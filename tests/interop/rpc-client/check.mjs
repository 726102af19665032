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

test('ls: a file, a path below, sizes and modes', async () => {
  const entries = await all(client.addAll([
    { path: 'kept/x', content: bytes('12345'), mode: 0o640, mtime: { secs: 1709210096, nsecs: 120000000 } },
    { path: 'kept/in/y', content: bytes('y') }
  ], { preserveMode: true, preserveMtime: true }))
  const root = entries.find((e) => e.path === 'kept').cid
  const listed = await all(client.ls(root))
  const x = listed.find((e) => e.name === 'x')
  assert.deepEqual([x.type, x.size, x.path], ['file', 5, `${root}/x`])
  assert.deepEqual((await all(client.ls(`/ipfs/${root}/in`))).map((e) => e.name), ['y'])
  await assert.rejects(() => all(client.ls(`/ipfs/${root}/none`)), /none/)
})

test('add: every option that decides a CID', async () => {
  const content = Buffer.alloc(300_000, 'abc')
  const cid = async (options) => (await client.add(content, { pin: false, ...options })).cid.toString()
  assert.match(await cid({ cidVersion: 1 }), /^bafybei/)
  assert.match(await cid({ cidVersion: 1, rawLeaves: false, hashAlg: 'sha2-512' }), /^bafybg/)
  assert.notEqual(await cid({ chunker: 'size-1000' }), await cid({ chunker: 'size-2000' }))
  assert.notEqual(await cid({ chunker: 'size-1000', trickle: true }), await cid({ chunker: 'size-1000' }))
  assert.notEqual(await cid({ rawLeaves: true }), await cid({}))
  assert.equal(await cid({ onlyHash: true }), await cid({}))
  const wrapped = await all(client.addAll([{ path: 'one', content: bytes('1') }], { wrapWithDirectory: true }))
  assert.deepEqual(wrapped.map((e) => e.path), ['one', ''])
  let seen = 0
  await client.add(content, { progress: (count) => { seen = count } })
  assert.equal(seen, content.length)
  await assert.rejects(() => cid({ chunker: 'nonsense' }))
  await assert.rejects(() => cid({ hashAlg: 'nonsense' }))
})

test('get: archive, compress and compression-level', async () => {
  const { cid } = await client.add(bytes('hello world'))
  const packed = await join(client.get(cid, { compress: true, compressionLevel: 9 }))
  assert.equal(execFileSync('gzip', ['-dc'], { input: packed }).toString(), 'hello world')
  const both = await join(client.get(cid, { archive: true, compress: true }))
  assert.equal(execFileSync('tar', ['-xzO'], { input: both }).toString(), 'hello world')
  await assert.rejects(() => join(client.get(cid, { compress: true, compressionLevel: 10 })), /between 1 and 9/)
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

test('refs: formats, depth and unique', async () => {
  const entries = await all(client.addAll([{ path: 'deep/a', content: bytes('same') }, { path: 'deep/b/c', content: bytes('same') }]))
  const of = (path) => entries.find((e) => e.path === path).cid.toString()
  const refs = async (options) => (await all(client.refs(of('deep'), options))).map((r) => r.ref)
  assert.deepEqual(await refs({ recursive: true, format: '<linkname>' }), ['a', 'b', 'c'])
  assert.deepEqual(await refs({ recursive: true, unique: true }), [of('deep/a'), of('deep/b')])
  assert.deepEqual(await refs({ recursive: true, maxDepth: 1 }), [of('deep/a'), of('deep/b')])
  const two = (await all(client.refs([of('deep'), of('deep/b')]))).map((r) => r.ref)
  assert.deepEqual(two, [of('deep/a'), of('deep/b'), of('deep/b/c')])
})

test('dag: codecs, stat by path and what is not there', async () => {
  const raw = await client.dag.put(bytes('raw'), { storeCodec: 'raw', inputCodec: 'raw' })
  assert.equal(raw.code, 0x55)
  const pinned = await client.dag.put({ a: 1 }, { pin: true, hashAlg: 'sha2-512' })
  assert.equal((await all(client.pin.ls({ paths: pinned })))[0].type, 'recursive')
  await assert.rejects(() => client.dag.get(pinned, { path: '/none' }))
  await assert.rejects(() => client.dag.resolve('nonsense'))
})

test('block/put: codecs, hash functions and pins', async () => {
  const cid = await client.block.put(bytes('x'), { format: 'dag-cbor', mhtype: 'sha2-512', version: 1 })
  assert.deepEqual([cid.code, cid.multihash.code], [0x71, 0x13])
  assert.equal((await client.block.put(bytes('x'), { format: 'v0' })).version, 0)
  await assert.rejects(() => client.block.put(bytes('x'), { mhtype: 'nonsense' }))
  await assert.rejects(() => client.block.get('nonsense'))
  const [gone] = await all(client.block.rm(await client.block.put(bytes('gone')), { force: true, quiet: false }))
  assert.equal(gone.error, undefined)
})

test('files: every verb', async () => {
  const f = client.files
  await f.mkdir('/js/a/b', { parents: true })
  await assert.rejects(() => f.mkdir('/js/none/deep'))
  await f.write('/js/file', bytes('hello world'), { create: true })
  await f.write('/js/file', bytes('WORLD'), { offset: 6 })
  await f.write('/js/file', bytes('HELLOxxx'), { length: 5 })
  assert.equal((await join(f.read('/js/file'))).toString(), 'HELLO WORLD')
  assert.equal((await join(f.read('/js/file', { offset: 6, length: 3 }))).toString(), 'WOR')
  const stat = await f.stat('/js/file')
  assert.deepEqual([stat.type, stat.size], ['file', 11])
  assert.equal((await f.stat('/js', { withLocal: true })).local, true)
  await f.cp('/js/file', '/js/a/copy')
  await f.cp(`/ipfs/${stat.cid}`, '/js/deep/er/copy', { parents: true })
  await f.mv('/js/file', '/js/a/moved')
  assert.deepEqual((await all(f.ls('/js/a'))).map((e) => `${e.name} ${e.type} ${e.size}`), ['b directory 0', 'copy file 11', 'moved file 11'])
  assert.ok((await f.flush('/js/a')).toString())
  await assert.rejects(() => f.rm('/js/a'), /recursive|directory|-r/i)
  await f.rm('/js', { recursive: true })
  assert.deepEqual(await all(f.ls('/')), [])
  await assert.rejects(() => f.stat('/js'))
})

test('pin: names, kinds and several at once', async () => {
  const cids = []
  for (const text of ['p1', 'p2', 'p3']) cids.push((await client.add(bytes(text), { pin: false })).cid)
  const pinned = await all(client.pin.addAll([{ path: cids[0] }, { path: cids[1], recursive: false }]))
  assert.deepEqual(pinned.map(String), cids.slice(0, 2).map(String))
  assert.equal((await all(client.pin.ls({ paths: cids[1] })))[0].type, 'direct')
  await client.pin.add(cids[2], { name: 'third' })
  const named = await all(client.pin.ls({ name: 'third', names: true }))
  assert.deepEqual(named.map((p) => [String(p.cid), p.name]), [[String(cids[2]), 'third']])
  await all(client.pin.rmAll(cids.map((path) => ({ path }))))
  await assert.rejects(() => all(client.pin.ls({ paths: cids[0] })), /not pinned/)
  await assert.rejects(() => all(client.pin.ls({ type: 'nonsense' })))
})

test('resolve: multibases and what is not there', async () => {
  const entries = await all(client.addAll([{ path: 'r/x', content: bytes('x') }]))
  const root = entries.find((e) => e.path === 'r').cid
  assert.match(await client.resolve(`/ipfs/${root}/x`, { cidBase: 'base36' }), /^\/ipfs\/k/)
  await assert.rejects(() => client.resolve(`/ipfs/${root}/none`))
})

test('repo/stat, repo/gc and repo/version', async () => {
  const cid = await client.block.put(bytes('garbage to collect'))
  const hash = Buffer.from(cid.multihash.bytes)
  const removed = await all(client.repo.gc())
  assert.ok(removed.some((r) => hash.equals(Buffer.from(r.cid.multihash.bytes))))
  const stat = await client.repo.stat()
  assert.ok(stat.numObjects > 0n && stat.storageMax > 0n && stat.repoSize > 0n)
  assert.equal((await client.stats.repo()).repoPath, stat.repoPath)
  assert.ok(await client.repo.version())
})
