//! demo
use super::Context; use super::failure::Done;
#[derive(clap::Args)]
pub(crate) struct Demo { /// exit
 #[arg(long)] exit: bool }
impl Demo { pub(crate) async fn run(self, _c: &Context) -> Done { Ok(()) } }
