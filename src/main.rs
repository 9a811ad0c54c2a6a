//! The `tribunal` command.

fn main() -> std::process::ExitCode {
    tribunal::cli::main()
}
