# Kubo's command line with its options, verb by verb: on our daemon and on Kubo's own repo it prints the same bytes and ends
# with the same code. Sourced by kubo.sh, which has `remote` (Kubo's command line on our daemon), `kubo` (on its own repo) and
# `same`; not run by itself.

# all_same CASE…: each case is one command line, split at blanks; all that differ are named.
all_same() {
  local line bad=0
  for line in "$@"; do
    # shellcheck disable=SC2086
    same $line >"$SCRATCH/same" || { cat "$SCRATCH/same"; bad=1; }
  done
  return $bad
}
# same_in FILE VERB…: the same, reading standard input from a file.
same_in() {
  local from=$1 ours theirs o t; shift
  ours=$(remote "$@" 2>/dev/null <"$from" | sha256sum; exit "${PIPESTATUS[0]}"); o=$?
  theirs=$(kubo "$@" 2>/dev/null <"$from" | sha256sum; exit "${PIPESTATUS[0]}"); t=$?
  echo "$* <$from: ours $ours ($o), Kubo's $theirs ($t)"; [ "$ours" = "$theirs" ] && [ "$o" = "$t" ]
}
# same_sorted VERB…: the same lines in any order.
same_sorted() {
  local ours theirs o t
  ours=$(remote "$@" 2>/dev/null | LC_ALL=C sort | sha256sum; exit "${PIPESTATUS[0]}"); o=$?
  theirs=$(kubo "$@" 2>/dev/null | LC_ALL=C sort | sha256sum; exit "${PIPESTATUS[0]}"); t=$?
  echo "$* | sort: ours $ours ($o), Kubo's $theirs ($t)"; [ "$ours" = "$theirs" ] && [ "$o" = "$t" ]
}
# outcome FOLDER: everything below it: kinds, modes, sizes and content.
outcome() { (cd "$1" && find . -printf '%y %m %P %l\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum); }
# same_get OUTPUT OPTION… PATH: get prints the same and leaves the same.
same_get() {
  local name=$1 o t; shift
  rm -rf "$SCRATCH/get"; mkdir -p "$SCRATCH/get/ours" "$SCRATCH/get/theirs"
  (cd "$SCRATCH/get/ours" && remote get "$@" >../ours.said 2>/dev/null); o=$?
  (cd "$SCRATCH/get/theirs" && kubo get "$@" >../theirs.said 2>/dev/null); t=$?
  for side in ours theirs; do
    # Archives carry the time at which they were made where the content has none, and gzip is no exact art.
    find "$SCRATCH/get/$side" -name '*.gz' -exec gunzip {} \;
    find "$SCRATCH/get/$side" -name '*.tar' -exec sh -c 'tar --numeric-owner -tvf "$1" | sed -E "s/ [0-9-]{10} [0-9:]{5} / /" >"$1.list"; tar -xOf "$1" >"$1.bytes"; rm "$1"' - {} \;
    outcome "$SCRATCH/get/$side" >"$SCRATCH/get/$side.outcome"
  done
  echo "get $*: ours $o, Kubo's $t"
  [ "$o" = "$t" ] && diff "$SCRATCH/get/ours.said" "$SCRATCH/get/theirs.said" && diff "$SCRATCH/get/ours.outcome" "$SCRATCH/get/theirs.outcome" \
    && { [ "$o" != 0 ] || [ -e "$SCRATCH/get/ours/$name" ] || ls "$SCRATCH/get/ours" | grep -q .; }
}

verbs_prepare() {
  SMALL=$SCRATCH/small
  mkdir -p "$SMALL/inner/deep" "$SMALL/empty"
  printf 'hello world\n' >"$SMALL/hello.txt"; printf 'below\n' >"$SMALL/inner/deep/below"; printf 'hidden' >"$SMALL/.hidden"
  make_file "$SMALL/inner/blob" 700001 7
  ln -s hello.txt "$SMALL/link"
  chmod 640 "$SMALL/hello.txt"; chmod 4755 "$SMALL/inner/blob"; chmod 700 "$SMALL/empty"
  touch -d '2021-09-06 14:18:46 UTC' "$SMALL/hello.txt"; touch -d '2024-02-29 12:34:56.123456789 UTC' "$SMALL/inner/blob"
  make_folder "$SCRATCH/many" 3000
  D=$(kubo add -r -Q --pin=false "$SMALL"); KEPT=$(kubo add -r -Q --pin=false --preserve-mode --preserve-mtime "$SMALL")
  MANY=$(kubo add -r -Q --pin=false "$SCRATCH/many"); SHARDS=$(kubo add -r -Q --pin=false --max-directory-links 100 "$SCRATCH/many")
  [ "$D" = "$(remote add -r -Q --pin=false "$SMALL")" ] && [ "$KEPT" = "$(remote add -r -Q --pin=false --preserve-mode --preserve-mtime "$SMALL")" ] \
    && [ "$MANY" = "$(remote add -r -Q --pin=false "$SCRATCH/many")" ] && [ "$SHARDS" = "$(remote add -r -Q --pin=false --max-directory-links 100 "$SCRATCH/many")" ] || return 1
  [ "$(printf '%s\n' "$D" "$KEPT" "$MANY" "$SHARDS" | grep -c '^Qm')" = 4 ] || return 1
  NONE=QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG
}

verb_add() {
  local bad=0 options
  for options in '-Q' '-q' '' '-n' '-n -Q' '--pin=false' '-w' '-w -Q' '--cid-version=1' '--cid-version=1 --raw-leaves=false' '--raw-leaves' '-t' \
    '-s size-1000' '-s rabin-1000-2000-4000' '-s buzhash' '--hash=sha2-512' '--hash=blake3' '--inline' '--inline --inline-limit=64' '-H' '--preserve-mode' '--preserve-mtime' \
    '--preserve-mode --preserve-mtime' '--mode=0600' '--mtime=12345' '--mtime=12345 --mtime-nsecs=678' '--max-file-links=10 -s size-1000' \
    '--empty-dirs=false' '--dereference-args' '--progress=false' '--pin-name=named' '--cid-base=base32' '--cid-base=base36 --cid-version=1' \
    '--ignore=*.txt' '--fast-provide-root=false' '--offline'; do
    # shellcheck disable=SC2086
    { same add $options -r "$SMALL" && same add $options "$SMALL/inner/blob" "$SMALL/hello.txt" && same_in "$SMALL/hello.txt" add $options; } >"$SCRATCH/same" || { cat "$SCRATCH/same"; bad=1; }
  done
  # Sharded folders are named in another order; of --silent Kubo's folders know nothing.
  for options in '--max-directory-links=2' '--max-hamt-fanout=16 --max-directory-links=2'; do
    # shellcheck disable=SC2086
    same_sorted add $options -r "$SMALL" >"$SCRATCH/same" || { cat "$SCRATCH/same"; bad=1; }
  done
  same add --silent "$SMALL/hello.txt" && same add "$SMALL" && same add /nowhere && same add --hash=nonsense "$SMALL/hello.txt" && same add -s nonsense "$SMALL/hello.txt" \
    && same_in "$SMALL/hello.txt" add --stdin-name=named && same add --cid-version=0 --hash=sha2-512 "$SMALL/hello.txt" && return $bad
}
verb_cat() {
  all_same "cat $D/hello.txt" "cat /ipfs/$D/hello.txt" "cat -o 6 $D/hello.txt" "cat -l 5 $D/hello.txt" "cat -o 6 -l 3 $D/hello.txt" "cat --offset 262140 --length 10 $D/inner/blob" \
    "cat -o 100 $D/hello.txt" "cat -l 0 $D/hello.txt" "cat $D/hello.txt $D/inner/deep/below" "cat -o 8 -l 9 $D/hello.txt $D/inner/deep/below" "cat $D/link" "cat --progress=false $D/inner/blob" \
    "cat $D" "cat $D/none" "cat nonsense" "cat" "cat -o -1 $D/hello.txt" "cat -l -1 $D/hello.txt" "cat $D/hello.txt $D" "cat --offline $NONE" "cat ipfs://$D/hello.txt"
}
verb_get() {
  same_get "$D" "$D" && same_get out -o out "$D" && same_get hello.txt "$D/hello.txt" && same_get out -o out "$D/hello.txt" && same_get "$D.tar" -a "$D" && same_get x.tar -a -o x "$D/inner" \
    && same_get "$D.tar.gz" -a -C "$D" && same_get hello.txt.gz -C "$D/hello.txt" && same_get y.gz -C -l 9 -o y "$D/inner/blob" && same_get hello.txt.tar -a "$D/hello.txt" \
    && same_get - -C "$D" && same_get - -C -l 10 "$D/hello.txt" && same_get - nonsense && same_get - "$D/none" && same_get link "$D/link" && same_get out --progress=false -o out "$D" \
    && same_get "$KEPT" "$KEPT" && same_get "$KEPT.tar" -a "$KEPT" && same_get - --offline "$NONE" && same_get "$SHARDS" "$SHARDS"
}
verb_ls() {
  all_same "ls $D" "ls /ipfs/$D/inner" "ls -v $D" "ls -l $D" "ls -v -l $D" "ls --size=false $D" "ls --size=false -v -l $D" "ls --resolve-type=false $D" "ls --resolve-type=false --size=false $D" \
    "ls -s $D" "ls -s -v $D" "ls -s -l $D" "ls $D $D/inner" "ls -v $D $D/inner" "ls -s $D $D/inner" "ls $D/hello.txt" "ls $D/inner/blob" "ls $D/empty" "ls $D/link" "ls --cid-base=base32 $D" \
    "ls -l $KEPT" "ls -l $KEPT/inner" "ls $MANY" "ls $SHARDS" "ls --size=false $SHARDS" "ls nonsense" "ls $D/none" "ls --offline $NONE" "ls" "ls $D $D/none" \
    && same_sorted ls -s "$SHARDS"
}
verb_refs() {
  all_same "refs $D" "refs -r $D" "refs -r -u $D" "refs -e $D" "refs -r -e $D" "refs --format=<linkname>:<src>:<dst> $D" "refs -r --max-depth=1 $D" "refs -r --max-depth=0 $D" "refs --max-depth=3 -r -u $D" \
    "refs $D $D/inner" "refs -u $D $D" "refs -e --format=<src> $D" "refs nonsense" "refs" "refs $D/none" "refs --cid-base=base32 $D" "refs $SHARDS" \
    "resolve /ipfs/$D" "resolve /ipfs/$D/inner/deep" "resolve -r /ipfs/$D/inner" "resolve --recursive=false /ipfs/$D" "resolve --cid-base=base36 /ipfs/$D" "resolve $D/inner" "resolve /ipfs/$D/none" "resolve nonsense" "resolve"
}
verb_cid() {
  local v1; v1=$(kubo cid base32 "$D")
  all_same "cid base32 $D" "cid base32 $D nonsense" "cid format -f %b-%v-%c-%h-%L-%m-%M-%d-%D-%s-%S-%P $v1" "cid format -v 1 -b base58btc $D" "cid format -v 0 $v1" "cid format -v 0 -b base32 $v1" "cid format --mc raw -v 1 $D" \
    "cid format -f %% $D" "cid format -f %x $D" "cid inspect $v1" "cid inspect $D" "cid inspect nonsense" "cid bases" "cid bases --prefix" "cid bases --prefix --numeric" "cid hashes" "cid hashes --numeric"
}
verb_block() {
  printf 'a block' >"$SCRATCH/block"
  local raw; raw=$(kubo block put "$SCRATCH/block")
  all_same "block put $SCRATCH/block" "block put $SCRATCH/block $SMALL/hello.txt" "block put --cid-codec dag-cbor $SCRATCH/block" "block put -f v0 $SCRATCH/block" "block put -f protobuf $SCRATCH/block" "block put -f raw $SCRATCH/block" \
    "block put --mhtype sha2-512 $SCRATCH/block" "block put --mhtype sha2-512 --mhlen 64 $SCRATCH/block" "block put --mhtype nonsense $SCRATCH/block" "block put --cid-codec nonsense $SCRATCH/block" \
    "block put --pin $SCRATCH/block" "block put --cid-base base58btc $SCRATCH/block" "block put /nowhere" "block get $raw" "block get $D" "block get $D/hello.txt" "block get nonsense" "block get --offline $NONE" "block get" \
    "block stat $raw" "block stat $D/inner" "block stat --cid-base base58btc $raw" "block stat nonsense" "block stat --offline $NONE" "block rm $raw" "pin rm $raw" "block rm -q $raw" "block rm $raw" "block rm -f $raw" "block rm -f -q $raw" "block rm nonsense" "block rm"
}
verb_dag() {
  printf '{"a": 1, "list": [true, null, "x"], "b": {"/": {"bytes": "AQI"}}}' >"$SCRATCH/value.json"
  local v; v=$(kubo dag put "$SCRATCH/value.json"); kubo dag export "$D" >"$SCRATCH/d.car" 2>/dev/null
  all_same "dag put $SCRATCH/value.json" "dag put --store-codec dag-json $SCRATCH/value.json" "dag put --store-codec json --input-codec json $SMALL/.hidden" "dag put --hash sha2-512 $SCRATCH/value.json" "dag put --pin $SCRATCH/value.json" \
    "dag put --store-codec nonsense $SCRATCH/value.json" "dag put --input-codec raw --store-codec raw $SMALL/hello.txt" "dag put --cid-base base58btc $SCRATCH/value.json" "dag put /nowhere" "dag get $v" "dag get $v/list/2" "dag get --output-codec dag-cbor $v" \
    "dag get $D" "dag get $D/hello.txt" "dag get $v/none" "dag get nonsense" "dag get --output-codec nonsense $v" "dag resolve $v/list/1" "dag resolve $D/inner" "dag resolve --cid-base base36 $D/inner" "dag resolve nonsense" "dag resolve $D/none" \
    "dag stat --progress=false $D" "dag stat --progress=false $D $v" "dag stat nonsense" "dag export --progress=false $D" "dag export --progress=false $D/inner" "dag export --local-only --progress=false $D" "dag export nonsense" "dag export --offline $NONE" \
    "dag import $SCRATCH/d.car" "dag import --stats $SCRATCH/d.car" "dag import --silent $SCRATCH/d.car" "dag import --pin-roots=false $SCRATCH/d.car" "dag import --local-only $SCRATCH/d.car" "dag import $SMALL/hello.txt" "dag import /nowhere" "dag import --cid-base base32 $SCRATCH/d.car"
}
verb_files() {
  local f=$SMALL/hello.txt
  all_same "files mkdir /v" "files mkdir /v" "files mkdir -p /v/a/b" "files mkdir /v/x/y" "files mkdir --cid-version 1 /v/one" "files mkdir --hash sha2-512 /v/other" "files cp /ipfs/$D /v/tree" "files cp /ipfs/$D/hello.txt /v/a/" "files cp -p /ipfs/$D/hello.txt /v/p/q/r" \
    "files cp /ipfs/$D/hello.txt /v/a/hello.txt" "files cp --force /ipfs/$D/inner/deep/below /v/a/hello.txt" "files cp /v/none /v/z" "files write -e /v/w $f" "files write /v/w2 $f" "files write -e -p /v/m/n/w $f" "files write -o 6 /v/w $f" "files write -o 2 -n 3 /v/w $f" \
    "files write -t /v/w $f" "files write -e --raw-leaves --cid-version 1 /v/raw $f" "files write -e --flush=false /v/lazy $f" "files write /v/a $f" "files read /v/w" "files read -o 3 -n 4 /v/w" "files read -o 100 /v/w" "files read /v/a" "files read /v/none" \
    "files ls" "files ls /v" "files ls -l /v" "files ls -U -l /v/tree" "files ls /v/w" "files ls -l /v/w" "files ls /v/none" "files stat /v" "files stat --hash /v" "files stat --size /v" "files stat /v/w" "files stat --format=<hash>,<size>,<cumulsize>,<type>,<childs>,<mode>,<mtime> /v/w" \
    "files stat --with-local /v/tree" "files stat /ipfs/$D/inner" "files stat --cid-base base32 /v" "files stat --hash --size /v" "files stat /v/none" "files mv /v/w /v/moved" "files mv /v/moved /v/a" "files mv /v/none /v/q" "files ls -l /v/a" "files flush" "files flush /v/a" "files flush /v/none" \
    "files chcid --cid-version 1 /v/a" "files stat --hash /v/a" "files chmod 0640 /v/a/moved" "files stat /v/a/moved" "files chmod nonsense /v/a" "files touch --mtime 12345 /v/a/moved" "files stat --format=<mtime> /v/a/moved" "files touch /v/none" \
    "files rm /v/lazy" "files rm -r /v/a" "files rm --force /v/none" "files rm -r --force /v/tree /v/none" "files stat --hash /v" "files rm -r /v" "files ls /"
}
verb_pin() {
  # A name that a pin has stays when it is pinned again without one; Kubo forgets it.
  local h=$D/hello.txt i=$D/inner c
  c=$(kubo resolve "/ipfs/$i"); c=${c#/ipfs/}
  all_same "pin rm $h" "pin add $h" "pin add $h" "pin add --name named $i" "pin add -r=false $D/inner/deep" "pin add --progress $h" "pin ls --names $i" "pin add $h $D/link" "pin ls $h" "pin ls --names $h" "pin ls -q $h" "pin ls $D/inner/deep/below" "pin ls $NONE" "pin ls nonsense" "pin ls -t direct $D/inner/deep" \
    "pin ls -t nonsense" "pin ls -t recursive $D/inner/deep" "pin ls --cid-base base32 $h" "pin update $c $D" "pin ls $c" "pin ls $D" "pin update $c $D" "pin update --unpin=false $D $i" "pin rm $i" "pin rm $i" "pin rm -r=false $D/inner/deep" "pin rm $D" "pin rm $NONE" "pin rm nonsense" "pin rm" "pin add" \
    "pin add nonsense" "pin add --offline $NONE" "pin rm $h" "pin rm $D/link"
}
verb_repo() { all_same "repo stat --size-only nonsense" "repo gc -q nonsense" && remote repo stat && remote repo stat -H && remote repo stat -s && remote repo version && remote repo version -q; }
