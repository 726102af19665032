//! `completions`: what a shell needs to know to complete commands.

use clap::{Args, CommandFactory, ValueEnum};

use super::{
    args::Cli,
    output::{self, Failure},
};

/// Prints what a shell needs to complete verbs and options.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit completions bash > ~/.local/share/bash-completion/completions/ipfs-kit
  ipfs-kit completions zsh > ~/.zfunc/_ipfs-kit      a folder of your fpath
  ipfs-kit completions fish > ~/.config/fish/completions/ipfs-kit.fish")]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// A shell.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// Bash 4.4 or later, with bash-completion
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

pub fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut command = Cli::command();
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command, "ipfs-kit", &mut out);
    if args.shell == Shell::Bash {
        // clap_complete 4.6 calls a program with a dash in its name otherwise where it looks than where it is.
        let text = String::from_utf8_lossy(&out).replace("ipfs__subcmd__kit", "ipfs__kit");
        out = text.into_bytes();
    }
    output::write(&out)?;
    output::flush()
}
