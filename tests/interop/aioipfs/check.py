"""Runs each verb that the daemon offers under /api/v0 through aioipfs, the client that Python programs use.

    python check.py API_MULTIADDR FOLDER

FOLDER is an empty folder to work in. All of it passes on Kubo's daemon, too.
"""
import asyncio
import hashlib
import json
import sys
import time
import traceback
from pathlib import Path

import aioipfs

HELLO = 'Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD'
ABSENT = 'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG'
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def equal(got, wanted):
    assert got == wanted, f'got {got!r}, wanted {wanted!r}'


async def everything(source):
    return [item async for item in source]


async def refused(call, words, code=0):
    try:
        await call
    except aioipfs.APIError as error:
        equal((error.http_status, error.code), (500, code))
        assert words in error.message, f'{words!r} is not in {error.message!r}'
        return
    raise AssertionError('it was not refused')


def content(size, seed):
    """As many bytes as asked for, the same for the same seed."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


def make_tree(folder):
    (folder / 'inner' / 'deep').mkdir(parents=True)
    (folder / 'a.txt').write_bytes(b'alpha\n')
    (folder / 'inner' / 'b.bin').write_bytes(content(700_000, 1))
    (folder / 'inner' / 'deep' / 'ünï cödé').write_bytes(b'deep')
    return folder


def files_below(folder):
    found = (path for path in Path(folder).rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@check
async def version_and_id(ipfs, folder):
    assert (await ipfs.version())['Version']
    assert (await ipfs.id())['AgentVersion'].startswith(('ipfs-kit/', 'kubo/'))


@check
async def add_bytes_str_and_json(ipfs, folder):
    equal((await ipfs.add_bytes(b'hello world'))['Hash'], HELLO)
    equal((await ipfs.add_str('hello world'))['Hash'], HELLO)
    added = await ipfs.add_json({'a': [1, 2]})
    equal(json.loads(await ipfs.cat(added['Hash'])), {'a': [1, 2]})


@check
async def add_with_options(ipfs, folder):
    raw = await ipfs.add_bytes(b'hello world', cid_version=1)
    equal(raw['Hash'], 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e')
    dry = await ipfs.add_bytes(b'nobody keeps this', only_hash=True)
    await refused(ipfs.block.rm('nonsense'), 'nonsense')
    assert (await ipfs.block.rm(dry['Hash']))['Error']
    inline = await ipfs.add_bytes(b'small', inline=True, cid_version=1)
    assert inline['Hash'].startswith('bafkqa'), inline
    loose = await ipfs.add_bytes(b'not pinned', pin=False)
    await refused(ipfs.pin.ls(loose['Hash']), 'not pinned')
    small = await ipfs.add_bytes(content(5000, 2), chunker='size-1000', trickle=True)
    equal(await ipfs.cat(small['Hash']), content(5000, 2))
    wrapped = await everything(ipfs.add(str(folder / 'tree' / 'a.txt'), wrap_with_directory=True))
    equal([entry['Name'] for entry in wrapped], ['a.txt', ''])


@check
async def add_a_folder(ipfs, folder):
    names = [entry['Name'] for entry in await everything(ipfs.add(str(folder / 'tree'), recursive=True))]
    assert {'tree', 'tree/a.txt', 'tree/inner/b.bin', 'tree/inner/deep/ünï cödé'} <= set(names), names


async def tree_of(ipfs, folder):
    return [entry['Hash'] async for entry in ipfs.add(str(folder / 'tree'), recursive=True) if entry['Name'] == 'tree'][0]


@check
async def cat_with_offset_and_length(ipfs, folder):
    root = await tree_of(ipfs, folder)
    data = content(700_000, 1)
    equal(await ipfs.cat(f'{root}/inner/b.bin'), data)
    equal(await ipfs.cat(f'/ipfs/{root}/inner/b.bin', offset=262_140, length=10), data[262_140:262_150])
    equal(await ipfs.cat(f'{root}/inner/b.bin', offset=800_000), b'')
    await refused(ipfs.cat(root), 'director')
    await refused(ipfs.cat(f'{root}/none'), 'none')
    await refused(ipfs.cat(f'{root}/a.txt', offset=-1), 'negative')


@check
async def get_into_a_folder(ipfs, folder):
    root = await tree_of(ipfs, folder)
    for number, options in enumerate(({}, {'compress': True, 'compression_level': 9})):
        out = folder / f'out-{number}'
        out.mkdir()
        assert await ipfs.get(root, dstdir=str(out), **options)
        equal(files_below(out / root), files_below(folder / 'tree'))
    out = folder / 'out-gen'
    out.mkdir()
    steps = await everything(ipfs.getgen(root, dstdir=str(out), sleept=0))
    equal(steps[-1][0], 1)
    assert steps[0][2] > 700_000, steps[0]
    equal(files_below(out / root), files_below(folder / 'tree'))


@check
async def ls_at_once_and_streamed(ipfs, folder):
    root = await tree_of(ipfs, folder)
    listed = (await ipfs.ls(root))['Objects'][0]
    equal(listed['Hash'], root)
    equal([(link['Name'], link['Type'], link['Size']) for link in listed['Links']], [('a.txt', 2, 6), ('inner', 1, 0)])
    bare = (await ipfs.ls(root, resolve_type=False, size=False))['Objects'][0]['Links']
    equal([(link['Name'], link['Type'], link['Size']) for link in bare], [('a.txt', 0, 0), ('inner', 0, 0)])
    lines = await everything(ipfs.core.ls_streamed(root))
    equal([line['Objects'][0]['Links'] for line in lines], [[link] for link in listed['Links']])


@check
async def refs_and_resolve(ipfs, folder):
    root = await tree_of(ipfs, folder)
    links = {link['Name']: link['Hash'] for link in (await ipfs.ls(root))['Objects'][0]['Links']}
    equal(await ipfs.core.resolve(f'/ipfs/{root}/inner'), {'Path': f'/ipfs/{links["inner"]}'})
    one = await ipfs.add_bytes(content(300_000, 3), chunker='size-299999', raw_leaves=True)
    parts = await refs_of(ipfs, one['Hash'])
    equal(b''.join([await ipfs.block.get(part) for part in parts]), content(300_000, 3))
    equal(await refs_of(ipfs, root, edges='true'), [f'{root} -> {links["a.txt"]}', f'{root} -> {links["inner"]}'])
    deep = await refs_of(ipfs, root, recursive='true', unique='true', format='<linkname>')
    assert {'a.txt', 'inner', 'b.bin', 'deep', 'ünï cödé'} <= set(deep), deep
    equal((await ipfs.refs.refs(f'{root}/inner/deep'))['Ref'], (await ipfs.add_bytes(b'deep'))['Hash'])
    assert len(await everything(ipfs.refs.local())) > 5


async def refs_of(ipfs, path, **options):
    # aioipfs reads one line only.
    async with ipfs.session.post(ipfs.api_endpoint('refs'), params={'arg': path, **options}) as reply:
        return [json.loads(line)['Ref'] for line in (await reply.text()).splitlines()]


@check
async def cids(ipfs, folder):
    raw = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
    equal((await ipfs.cid.base32(HELLO))['Formatted'], 'bafybeihykld7uyxzogax6vgyvag42y7464eywpf55gxi5qpoisibh3c5wa')
    equal((await ipfs.cid.format(raw, format='%b-%v-%c-%h-%L', multibase='base58btc'))['Formatted'],
          'base58btc-cidv1-raw-sha2-256-32')
    names = [entry['Name'] for entry in await ipfs.cid.bases(prefix=True, numeric=True)]
    assert {'base32', 'base58btc', 'base64url'} <= set(names), names
    codecs = {entry['Name']: entry['Code'] for entry in await ipfs.cid.codecs(supported=True)}
    equal((codecs['dag-pb'], codecs['raw'], codecs['dag-cbor']), (0x70, 0x55, 0x71))
    hashes = {entry['Name']: entry['Code'] for entry in await ipfs.cid.hashes()}
    equal((hashes['sha2-256'], hashes['blake3']), (0x12, 0x1e))


@check
async def blocks(ipfs, folder):
    path = folder / 'block'
    path.write_bytes(b'bytes of a block')
    put = await ipfs.block.put(str(path), cid_codec='raw', pin=False)
    equal(put['Size'], 16)
    equal(await ipfs.block.get(put['Key']), b'bytes of a block')
    equal(await ipfs.block.stat(put['Key']), {'Key': put['Key'], 'Size': 16})
    equal((await ipfs.block.rm(put['Key']))['Hash'], put['Key'])
    assert (await ipfs.block.rm(put['Key']))['Error']
    equal(await ipfs.block.rm(put['Key'], force=True), {'Hash': put['Key']})
    kept = await ipfs.block.put(str(path), cid_codec='dag-pb', mhtype='sha2-512', pin=False)
    assert kept['Key'].startswith('bafybg'), kept


@check
async def dags(ipfs, folder):
    path = folder / 'value.json'
    path.write_text('{"list": [1, {"deep": "x"}], "bytes": {"/": {"bytes": "AQI"}}}')
    put = await ipfs.dag.put(str(path))
    cid = put['Cid']['/']
    equal(cid, 'bafyreiajma63b5tcewiyvyqetsqxcjb55joaer7w675bforyrwueuskneu')
    equal(json.loads(await ipfs.dag.get(f'{cid}/list/1')), {'deep': 'x'})
    equal(json.loads(await ipfs.dag.get(cid, output_codec='dag-json'))['bytes'], {'/': {'bytes': 'AQI'}})
    equal(await ipfs.dag.resolve(f'{cid}/list/1/deep'), {'Cid': {'/': cid}, 'RemPath': '/list/1/deep'})
    stats = await everything(ipfs.dag.stat(cid, progress=False))
    equal(stats[-1]['DagStats'][0]['NumBlocks'], 1)

    root = await tree_of(ipfs, folder)
    archive = await ipfs.dag.export(root)
    imported = await ipfs.dag.car_import(archive)
    equal(imported['Root'], {'Cid': {'/': root}, 'PinErrorMsg': ''})
    equal(await ipfs.dag.export(root), archive)
    await refused(ipfs.dag.get(f'{root}/none'), 'none')


@check
async def the_files_tree(ipfs, folder):
    await ipfs.files.mkdir('/py/docs', parents=True)
    await ipfs.files.write('/py/docs/notes', b'first line\n', create=True)
    await ipfs.files.write('/py/docs/notes', b'FIRST', offset=0)
    await ipfs.files.write('/py/docs/notes', b'LINE', offset=6)
    equal(await ipfs.files.read('/py/docs/notes'), b'FIRST LINE\n')
    equal(await ipfs.files.read('/py/docs/notes', offset=6, count=4), b'LINE')
    await ipfs.files.cp(f'/ipfs/{await tree_of(ipfs, folder)}', '/py/tree')
    await ipfs.files.mv('/py/docs/notes', '/py/notes')
    listed = (await ipfs.files.ls('/py', long=True))['Entries']
    equal([(entry['Name'], entry['Type'], entry['Size']) for entry in listed], [('docs', 1, 0), ('notes', 0, 11), ('tree', 1, 0)])
    stat = await ipfs.files.stat('/py/notes')
    equal((stat['Type'], stat['Size'], stat['Hash']), ('file', 11, listed[1]['Hash']))
    await ipfs.files.chcid('/py/docs', 1)
    assert (await ipfs.files.stat('/py/docs'))['Hash'].startswith('bafy')
    equal((await ipfs.files.flush('/py/notes'))['Cid'], stat['Hash'])
    await refused(ipfs.files.stat('/py/none'), '')
    async with ipfs.session.post(ipfs.api_endpoint('files/rm'), params={'arg': '/py', 'recursive': 'true'}) as reply:
        equal(reply.status, 200)
    equal((await ipfs.files.ls('/'))['Entries'], None)


@check
async def pins(ipfs, folder):
    one = (await ipfs.add_bytes(b'pin one', pin=False))['Hash']
    two = (await ipfs.add_bytes(b'pin two', pin=False))['Hash']
    steps = await everything(ipfs.pin.add(one, name='first'))
    equal(steps[-1]['Pins'], [one])
    found = (await ipfs.pin.ls(one, names=True))['Keys'][one]
    equal((found['Type'], found['Name']), ('recursive', 'first'))
    assert one in (await ipfs.pin.ls(pintype='recursive'))['Keys']
    equal((await ipfs.pin.update(one, two))['Pins'], [one, two])
    await refused(ipfs.pin.ls(one), 'not pinned')
    equal((await ipfs.pin.rm(two))['Pins'], [two])
    await refused(ipfs.pin.rm(two), 'not pinned')
    await everything(ipfs.pin.add(one, recursive=False))
    equal((await ipfs.pin.ls(one))['Keys'][one]['Type'], 'direct')
    await refused(ipfs.pin.ls(pintype='nonsense'), 'nonsense')
    async with ipfs.session.post(ipfs.api_endpoint('pin/verify'), params={'verbose': 'true'}) as reply:
        lines = [json.loads(line) for line in (await reply.text()).splitlines()]
    assert lines and all(line['Ok'] for line in lines), lines


@check
async def the_repo(ipfs, folder):
    stat = await ipfs.repo.stat()
    assert stat['NumObjects'] > 5 and stat['RepoSize'] > 700_000, stat
    assert (await ipfs.repo.version())['Version']


@check
async def what_is_not_there_is_said(ipfs, folder):
    for call in (ipfs.cat, ipfs.ls, ipfs.block.get, ipfs.dag.get, ipfs.dag.resolve):
        await refused(call('nonsense'), 'nonsense')
    async with ipfs.session.post(ipfs.api_endpoint('cat'), params={'arg': ABSENT, 'offline': 'true'}) as reply:
        equal(reply.status, 500)
        equal((await reply.json())['Type'], 'error')


async def main(address, folder):
    make_tree(folder / 'tree')
    failed = 0
    async with aioipfs.AsyncIPFS(maddr=address) as ipfs:
        for function in CHECKS:
            began = time.monotonic()
            try:
                await asyncio.wait_for(function(ipfs, folder), 60)
            except Exception:
                failed += 1
                print(f'FAIL  {function.__name__}')
                traceback.print_exc(file=sys.stdout)
            else:
                print(f'ok    {function.__name__:<40} {(time.monotonic() - began) * 1000:6.0f} ms')
    print(f'aioipfs: {len(CHECKS) - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(asyncio.run(main(sys.argv[1], Path(sys.argv[2]))))
