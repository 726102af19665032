#!/bin/bash
# All vectors of IPIP-499 through the command line: ten files and four folders under both profiles, the largest of 1 GiB. Bytes
# are a ChaCha20 keystream whose key is the SHA-256 of a seed; nothing is downloaded.
. "$(dirname "$0")/../rigs/lib.sh"
IPFS_KIT_PATH=$SCRATCH/repo "$BIN" init >/dev/null || exit 1

# keystream SEED BYTES
keystream() {
  local key; key=$(printf '%s' "$1" | sha256sum | cut -d' ' -f1)
  head -c "$2" /dev/zero | openssl enc -chacha20 -K "$key" -iv 00000000000000000000000000000000
}
# folder PATH SEED COUNT LENGTH LAST: files that hold "x", their names cut one after another from the keystream.
folder() {
  local name; mkdir -p "$1"
  keystream "$2" $((($3 - 1) * $4 + $5)) | od -An -v -tu1 -w1 | awk -v count="$3" -v length_="$4" -v last="$5" '
    BEGIN { letters = "abcdefghijklmnopqrstuvwxyz01234567890-_" }
    { name = name substr(letters, $1 % 39 + 1, 1)
      if (++n == (files < count - 1 ? length_ : last)) { print name; name = ""; n = 0; files++ } }' \
    | (cd "$1" && while IFS= read -r name; do printf x >"./$name"; done)
  [ "$(ls "$1" | wc -l)" = "$3" ]
}
cid() { IPFS_KIT_PATH=$SCRATCH/repo "$BIN" add --only-hash --quieter "$@"; }
is() { echo "got $1, want $2"; [ "$1" = "$2" ]; }

hello() { is "$(printf 'hello world' | cid --profile "$1" -)" "$2"; }
file() { is "$(keystream "$2" "$3" | cid --profile "$1" -)" "$4"; } # PROFILE SEED BYTES CID
dir() { # PROFILE SEED COUNT LENGTH LAST CID
  rm -rf "$SCRATCH/folder"; folder "$SCRATCH/folder" "$2" "$3" "$4" "$5" && is "$(cid --profile "$1" -r "$SCRATCH/folder")" "$6"
}
V0=unixfs-v0-2015 V1=unixfs-v1-2025
check "$V0: hello world" hello $V0 Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD
check "$V0: one whole chunk" file $V0 chunk-v0-seed 262144 QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE
check "$V0: a chunk and a byte" file $V0 chunk-v0-seed 262145 QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ
check "$V0: 174 chunks, one full node" file $V0 v0-seed $((174 * 262144)) QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2
check "$V0: a byte more" file $V0 v0-seed $((174 * 262144 + 1)) QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW
check "$V0: the largest folder in one node" dir $V0 hamt-unixfs-v0-2015 4096 30 30 QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN
check "$V0: the smallest in shards" dir $V0 hamt-unixfs-v0-2015 4033 31 31 QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP
check "$V1: hello world" hello $V1 bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e
check "$V1: one whole chunk" file $V1 chunk-v1-seed 1048576 bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta
check "$V1: a chunk and a byte" file $V1 chunk-v1-seed 1048577 bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64
check "$V1: 1 GiB, one full node" file $V1 v1-2025-seed 1073741824 bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm
check "$V1: a byte more" file $V1 v1-2025-seed 1073741825 bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe
check "$V1: the largest folder in one node" dir $V1 hamt-unixfs-v1-2025 4766 11 21 bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4
check "$V1: the smallest in shards" dir $V1 hamt-unixfs-v1-2025 4766 11 22 bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu
verdict "IPIP-499"
