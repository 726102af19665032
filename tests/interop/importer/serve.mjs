// Adds the folder named in each line of JSON from standard input with Helia's importer, and prints its root's CID.
import { MemoryBlockstore } from 'blockstore-core'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced, trickle } from 'ipfs-unixfs-importer/layout'
import { lstatSync, readFileSync, readdirSync } from 'node:fs'
import { createInterface } from 'node:readline'

const CONTENT = 'root'

function * entries (path, name) {
  const stat = lstatSync(path)
  if (!stat.isDirectory()) {
    yield { path: name, content: new Uint8Array(readFileSync(path)) }
    return
  }
  yield { path: name }
  for (const entry of readdirSync(path)) yield * entries(`${path}/${entry}`, `${name}/${entry}`)
}

async function add (request) {
  const store = new MemoryBlockstore()
  const options = {
    cidVersion: request.cidVersion,
    rawLeaves: request.rawLeaves,
    // As in Kubo, whose trickle trees have a root of their own always.
    leafType: request.trickle ? 'raw' : 'file',
    reduceSingleLeafToSelf: !request.trickle,
    chunker: fixedSize({ chunkSize: request.chunk }),
    layout: request.trickle ? trickle({ maxChildrenPerNode: request.links }) : balanced({ maxChildrenPerNode: request.links }),
    shardFanoutBits: request.bits,
    shardSplitThresholdBytes: 262144,
    shardSplitStrategy: request.block ? 'block-bytes' : 'links-bytes'
  }
  let last
  for await (const entry of importer(entries(request.path, CONTENT), store, options)) last = entry
  return last.cid.toString()
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(await add(JSON.parse(line)))
  } catch (error) {
    console.log(`error ${error.message.replaceAll('\n', ' ')}`)
  }
}
