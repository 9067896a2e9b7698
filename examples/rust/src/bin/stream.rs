//! A streamed chat: each piece is printed as it comes.   cd examples/rust && LANYARD_KEY=sk-… cargo run --bin stream
use std::{env, error::Error, io::Write, process::ExitCode, time::Duration};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let question = env::args().nth(1).unwrap_or("Say hello.".into());
    let told = stream(&question).await;
    println!();
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A connection that fails has its reason within: nobody there, a certificate that is not trusted, …
            let mut reason: Option<&dyn Error> = Some(error.as_ref());
            while let Some(error) = reason {
                eprintln!("Lanyard: {error}");
                reason = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn stream(question: &str) -> Result<(), Box<dyn Error>> {
    let url = env::var("LANYARD_URL").unwrap_or("http://localhost:4000".into());
    let key = env::var("LANYARD_KEY").or(env::var("LITELLM_MASTER_KEY"));
    let key = key.map_err(|_| "set LANYARD_KEY")?;
    let client = Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_secs(600)) // Of silence, not of the whole answer.
        .build()?;
    let get = |path: &str| client.get(format!("{url}/v1/{path}")).bearer_auth(&key);
    let post = |path: &str| client.post(format!("{url}/v1/{path}")).bearer_auth(&key);

    // The first model this key may use, or the one you name.
    let model = match env::var("LANYARD_MODEL") {
        Ok(model) => json!(model),
        Err(_) => ask(get("models")).await?.json::<Value>().await?["data"][0]["id"].take(),
    };
    let messages = json!([{ "role": "user", "content": question }]);
    let chat = json!({ "model": model, "stream": true, "messages": messages });
    let mut answer = ask(post("chat/completions").json(&chat)).await?;

    let mut rest = Vec::new();
    while let Some(bytes) = answer.chunk().await? {
        rest.extend_from_slice(&bytes);
        // Whole lines only: a chunk may end in the middle of one, and in the middle of a letter.
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            // Others are the blank lines between events, and the comments that keep a silent stream alive.
            let Some(data) = line.trim_ascii().strip_prefix(b"data: ") else {
                continue;
            };
            if data == b"[DONE]" {
                return Ok(());
            }
            let event: Value = serde_json::from_slice(data)?;
            if event["error"].is_object() {
                return Err(refusal(&event).into());
            }
            let piece = event["choices"][0]["delta"]["content"].as_str();
            print!("{}", piece.unwrap_or_default());
            std::io::stdout().flush()?;
        }
    }
    Err("the stream broke off: this is not the whole answer".into())
}

/// The answer, its body still to come. A refusal is an error in the gateway's own words.
async fn ask(request: RequestBuilder) -> Result<Response, Box<dyn Error>> {
    let response = request.send().await?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(refusal(&response.json().await?).into())
}

fn refusal(body: &Value) -> String {
    let told = |field: &str| body["error"][field].as_str().unwrap_or_default();
    format!("{}: {}", told("code"), told("message"))
}
