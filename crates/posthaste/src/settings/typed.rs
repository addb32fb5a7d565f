//! Settings as typed on the command line: a flag for each entry of the list.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::settings::list::{Kind, SETTINGS, Setting};

/// What was typed, unjudged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Typed {
    /// The texts of each setting that was typed, in order.
    pub(crate) texts: BTreeMap<&'static str, Vec<String>>,
    /// `--config FILE`.
    pub(crate) config: Option<PathBuf>,
}

impl FromArgMatches for Typed {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut typed = Self::default();
        typed.update_from_arg_matches(matches)?;
        Ok(typed)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in flags() {
            if let Some(values) = matches.get_many::<String>(setting.name) {
                self.texts.insert(setting.name, values.cloned().collect());
            }
        }
        self.config = matches.get_one::<PathBuf>("config").cloned();
        Ok(())
    }
}

impl Args for Typed {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config").long("config").value_name("FILE").value_parser(clap::value_parser!(PathBuf));
        flags()
            .fold(command.next_help_heading("Settings"), |command, setting| command.arg(flag(setting)))
            .arg(config.help("The settings file [default: posthaste.toml, if there is one]"))
            .next_help_heading(None)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The settings that have a flag: a secret on a command line could be read by every process of the machine.
fn flags() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.kind != Kind::Secret)
}

fn flag(setting: &'static Setting) -> Arg {
    let default = if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
    let dev = setting.dev.map_or(String::new(), |dev| format!(" [dev: {dev}]"));
    let arg = Arg::new(setting.name).long(setting.name).value_name(setting.value);
    let arg = arg.help(format!("{}{default}{dev}", setting.help));
    match setting.kind {
        Kind::Switch => arg.num_args(0..=1).default_missing_value("true").require_equals(true),
        Kind::List => arg.action(ArgAction::Append),
        Kind::One | Kind::Secret => arg,
    }
}
