//! posthaste: webhook delivery. The binary: settings, wiring, the commands, and the inbox of `dev`.

mod bench;
mod chance;
mod cli;
mod client;
mod clock;
mod commands;
mod descriptors;
mod embedded;
mod encryption_key;
mod exit;
mod figures;
mod inbox;
mod keeping;
mod logging;
mod output;
mod platform_key;
mod private_file;
mod service_manager;
mod settings;
mod sharing;
mod signals;
mod traces;
mod trusted;
mod watchdog;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::exit::{Exit, Stop};
use crate::output::Console;
use crate::settings::source::Environment;

/// Events, jobs and answers are many small allocations on many threads: the system's allocator spent a sixth of the
/// processor's time on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads for what blocks: reads of the embedded store, four at once, names that are looked up, files. A read's permit is free a
/// moment before its thread is, so without a bound each such moment would start another thread, and while reads go on none of
/// them is idle for long enough to end.
const BLOCKING_THREADS_MAX: usize = 16;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(cli::asked(std::env::args_os())) {
        Ok(cli) => cli,
        // Help and version are asked for, and go to stdout; everything else is a fault of usage.
        Err(error) => {
            if error.use_stderr() && cli::wants_json(std::env::args_os()) {
                let stop = cli::misused(&error);
                Console::new(true, true).stop(&stop);
                return stop.exit.into();
            }
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _nobody_to_tell = error.print();
            return exit.into();
        }
    };
    let environment = Environment::of_process();
    let console = Console::new(cli.json, environment.is_plain());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let ended = match runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build() {
        Ok(runtime) => {
            let ended = runtime.block_on(cli::run(cli.command, &console, &environment));
            // What still waits for a name or a disk must not hold the process back.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Stop::failure(format!("This machine gives no threads or sockets: {error}."))),
    };
    match ended {
        // A result that could not be written is none.
        Ok(Exit::Ok) if console.lost() => Exit::Failure.into(),
        Ok(exit) => exit.into(),
        Err(stop) => {
            console.stop(&stop);
            stop.exit.into()
        }
    }
}
