//! This project's side of `bench/vs_pytorch.py`: reads one request per line of stdin (JSON), does that work once, and
//! answers with one line of JSON on stdout: its seconds, or an error.
//!
//! One process answers all requests, so that memory and threads are warm, as they are on the other side.

#![allow(clippy::print_stdout, reason = "answers are lines on stdout")]

mod adapted;
mod layer;
mod request;
mod search;
mod side;

use request::Request;
use std::io::BufRead as _;

fn main() -> std::process::ExitCode {
    // On a thread of the pool, as the program itself runs.
    rayon::scope(|_| answer_requests());
    std::process::ExitCode::SUCCESS
}

fn answer_requests() {
    let mut side = side::Side::default();
    for line in std::io::stdin().lock().lines() {
        let answer = match line {
            Ok(line) => Request::parse(&line).and_then(|request| side.answer(request)),
            Err(error) => Err(error.into()),
        };
        match answer {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("{}", serde_json::json!({ "error": format!("{error:#}") })),
        }
    }
}
