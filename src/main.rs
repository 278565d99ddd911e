//! The `thinkwire` binary: everything is in the library.

fn main() -> std::process::ExitCode {
    thinkwire::cli::run()
}
