//! Looking at the tree.

use clap::Args;
use serde_json::json;

use crate::{
    base::time::Civil,
    cli::{
        output::{self, Context, Failure},
        reach::{self, Need},
    },
    http::model::files::{MODE_DIR, MODE_SYMLINK, StatReply},
};

/// Lists a directory.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {entries: [{name, type, size, cid}]}; type, size and cid are null without -l

Examples:
  ipfs-kit files ls                   the root
  ipfs-kit files ls -l /photos        with CIDs and sizes")]
pub struct LsArgs {
    /// Which
    #[arg(default_value = "/", value_name = "PATH")]
    path: String,
    /// CIDs and sizes too
    #[arg(short, long)]
    long: bool,
    /// In the directory's own order rather than by name
    #[arg(short = 'U')]
    unsorted: bool,
}

pub async fn ls(args: LsArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let mut entries = node.client().files_ls(&args.path, args.long).await?;
    node.close().await;
    if !args.unsorted {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let kind = |kind: u8| if kind == 1 { "directory" } else { "file" };
    let objects: Vec<_> = entries
        .iter()
        .map(|e| match args.long {
            true => json!({"name": e.name, "type": kind(e.kind), "size": e.size, "cid": e.hash}),
            false => json!({"name": e.name, "type": null, "size": null, "cid": null}),
        })
        .collect();
    context.show(&json!({ "entries": objects }), || {
        let mut out = String::new();
        for entry in &entries {
            out.push_str(&entry.name);
            if args.long {
                let slash = if entry.kind == 1 { "/" } else { "" };
                out.push_str(&format!("{slash}\t{}\t{}", entry.hash, entry.size));
            }
            out.push('\n');
        }
        out
    })
}

const TEMPLATE: &str = "<hash>
Size: <size>
CumulativeSize: <cumulsize>
ChildBlocks: <childs>
Type: <type>
Mode: <mode> (<mode-octal>)
Mtime: <mtime>";

/// Shows what stands at a path of the tree, or what content (`/ipfs/CID…`) leads to.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cid, size, cumulative_size, blocks, type, mode, mtime, mtime_nsecs, local, size_local}
  mode (octal digits), mtime, local and size_local are null when not known.
Words a template may hold: <hash> <size> <cumulsize> <childs> <type> <mode> <mode-octal> <mtime> <mtime-secs> <mtime-nsecs>

Examples:
  ipfs-kit files stat /
  ipfs-kit files stat --hash /photos
  ipfs-kit files stat --with-local /ipfs/CID          how much of it is here
  ipfs-kit files stat --template '<type> <size>' /a")]
pub struct StatArgs {
    /// Which
    #[arg(value_name = "PATH")]
    path: String,
    /// The CID alone
    #[arg(long, conflicts_with_all = ["size", "template"])]
    hash: bool,
    /// The size of the whole DAG alone
    #[arg(long, conflicts_with = "template")]
    size: bool,
    /// How much of it is here, too
    #[arg(long)]
    with_local: bool,
    /// What to print
    #[arg(long, value_name = "TEXT")]
    template: Option<String>,
}

pub async fn stat(args: StatArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let stat = node.client().files_stat(&args.path, args.with_local).await?;
    node.close().await;
    let mode = u32::from_str_radix(&stat.mode, 8).ok();
    let object = json!({
        "cid": stat.hash,
        "size": stat.size,
        "cumulative_size": stat.cumulative_size,
        "blocks": stat.blocks,
        "type": stat.kind,
        "mode": mode.map(octal),
        "mtime": (stat.mtime != 0).then_some(stat.mtime),
        "mtime_nsecs": (stat.mtime != 0).then_some(stat.mtime_nsecs),
        "local": stat.with_locality.then_some(stat.local),
        "size_local": stat.with_locality.then_some(stat.size_local),
    });
    let template = match (args.hash, args.size, &args.template) {
        (true, ..) => "<hash>",
        (_, true, _) => "<cumulsize>",
        (_, _, Some(template)) => template,
        _ => TEMPLATE,
    };
    context.show(&object, || {
        let mut out = filled(template, &stat, mode);
        if stat.with_locality {
            let share = 100.0 * stat.size_local as f64 / stat.cumulative_size.max(1) as f64;
            let (local, all) = (decimal(stat.size_local), decimal(stat.cumulative_size));
            out.push_str(&format!("\nLocal: {local} of {all} ({share:.2}%)"));
        }
        out
    })
}

fn filled(template: &str, stat: &StatReply, mode: Option<u32>) -> String {
    let unset = || "not set".to_owned();
    let (mtime, secs, nsecs) = if stat.mtime > 0 {
        (shown_time(stat.mtime), stat.mtime.to_string(), stat.mtime_nsecs.to_string())
    } else {
        (unset(), unset(), unset())
    };
    let pairs = [
        ("<hash>", stat.hash.clone()),
        ("<size>", stat.size.to_string()),
        ("<cumulsize>", stat.cumulative_size.to_string()),
        ("<childs>", stat.blocks.to_string()),
        ("<type>", stat.kind.clone()),
        ("<mode>", mode.map_or_else(unset, letters)),
        ("<mode-octal>", mode.map_or_else(unset, octal)),
        ("<mtime>", mtime),
        ("<mtime-secs>", secs),
        ("<mtime-nsecs>", nsecs),
    ];
    pairs.iter().fold(template.to_owned(), |text, (word, value)| text.replace(word, value))
}

fn octal(mode: u32) -> String {
    format!("0{:o}", mode & 0o777)
}

/// A mode as `ls -l` shows it.
pub(in crate::cli) fn letters(mode: u32) -> String {
    let first = match mode {
        mode if mode & MODE_DIR != 0 => 'd',
        mode if mode & MODE_SYMLINK != 0 => 'l',
        _ => '-',
    };
    let bits = "rwxrwxrwx".chars().enumerate().map(|(at, c)| if mode & (0o400 >> at) != 0 { c } else { '-' });
    std::iter::once(first).chain(bits).collect()
}

/// Seconds since 1970 as `2 Jan 2006, 15:04:05 UTC`.
fn shown_time(seconds: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = Civil::from_unix(seconds);
    let name = MONTHS.get(usize::from(at.month) - 1).unwrap_or(&"");
    let (hour, minute, second) = at.clock();
    format!("{} {name} {}, {hour:02}:{minute:02}:{second:02} UTC", at.day, at.year)
}

/// A number of bytes in powers of 1000, as Kubo shows it.
fn decimal(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let value = (value * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// Writes a file's bytes to standard output, whatever --format says.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit files read /notes.txt
  ipfs-kit files read --offset 100 --count 20 /data.bin")]
pub struct ReadArgs {
    /// Which
    #[arg(value_name = "PATH")]
    path: String,
    /// Bytes to leave out at the beginning
    #[arg(short, long, default_value_t = 0)]
    offset: u64,
    /// Bytes to write at most
    #[arg(short = 'n', long)]
    count: Option<u64>,
}

pub async fn read(args: ReadArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let mut reply = node.client().files_read(&args.path, args.offset, args.count).await?;
    output::copy(&mut reply, |_| ()).await?;
    node.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_modes_and_sizes_look_as_kubo_shows_them() {
        for (seconds, shown) in [
            (0, "1 Jan 1970, 00:00:00 UTC"),
            (1_630_937_926, "6 Sep 2021, 14:18:46 UTC"),
            (1_709_210_096, "29 Feb 2024, 12:34:56 UTC"),
            (4_102_444_799, "31 Dec 2099, 23:59:59 UTC"),
        ] {
            assert_eq!(shown_time(seconds), shown);
        }
        assert_eq!(letters(MODE_DIR | 0o755), "drwxr-xr-x");
        assert_eq!(letters(MODE_SYMLINK | 0o777), "lrwxrwxrwx");
        assert_eq!((letters(0o604), octal(0o604)), ("-rw----r--".into(), "0604".into()));
        for (bytes, shown) in
            [(0, "0 B"), (9, "9 B"), (10, "10 B"), (1000, "1.0 kB"), (82_854, "83 kB"), (1 << 30, "1.1 GB")]
        {
            assert_eq!(decimal(bytes), shown);
        }
    }
}
