//! A chat with reqwest.   cd examples/rust && LANYARD_KEY=sk-… cargo run --bin chat "Say hello."
use std::{env, error::Error, process::ExitCode, time::Duration};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let question = env::args().nth(1).unwrap_or("Say hello.".into());
    match chat(&question).await {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
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

async fn chat(question: &str) -> Result<String, Box<dyn Error>> {
    let url = env::var("LANYARD_URL").unwrap_or("http://localhost:4000".into());
    let key = env::var("LANYARD_KEY").or(env::var("LITELLM_MASTER_KEY"));
    let key = key.map_err(|_| "set LANYARD_KEY")?;
    let client = Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(600)) // An engine may first have to load the model.
        .build()?;
    let get = |path: &str| client.get(format!("{url}/v1/{path}")).bearer_auth(&key);
    let post = |path: &str| client.post(format!("{url}/v1/{path}")).bearer_auth(&key);

    // The first model this key may use, or the one you name.
    let model = match env::var("LANYARD_MODEL") {
        Ok(model) => json!(model),
        Err(_) => ask(get("models")).await?["data"][0]["id"].take(),
    };
    let chat = json!({ "model": model, "messages": [{ "role": "user", "content": question }] });
    let answer = ask(post("chat/completions").json(&chat)).await?;
    let content = answer["choices"][0]["message"]["content"].as_str();
    Ok(content.ok_or("an answer without text")?.to_owned())
}

/// The answer's body. A refusal is an error in the gateway's own words.
async fn ask(request: RequestBuilder) -> Result<Value, Box<dyn Error>> {
    let response = request.send().await?;
    let status = response.status();
    let body: Value = response.json().await?;
    if status.is_success() {
        return Ok(body);
    }
    let told = |field: &str| body["error"][field].as_str().unwrap_or_default();
    Err(format!("{}: {}", told("code"), told("message")).into())
}
