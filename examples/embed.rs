use std::time::Duration;

use trunkline::{Caller, Resolver, Settings, TokenRequest};

/// A dispatcher: resolves the caller and mints the token that its call needs.
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let resolver = Resolver::builder(Settings::from_env()?).start();

    let caller = Caller::parse("0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11", "+971501234567")?;
    match resolver.resolve(caller).await {
        Ok(answer) => {
            let token = answer.token(&TokenRequest::join("call-1", "dispatcher"))?;
            println!("{} from {:?}, trunk {:?}", answer.url(), answer.source(), answer.trunk_id());
            println!("a token of {} characters", token.as_str().len());
        }
        // Neither the database nor the LIVEKIT_* variables had an answer.
        Err(error) => println!("no call: {error}"),
    }
    // So that it is not listed among the nodes any more.
    resolver.stop(Duration::from_secs(1)).await;
    Ok(())
}
