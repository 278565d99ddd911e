//! nginx as the yardstick: one worker that passes the bytes on without looking at them.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::child::Child;
use crate::error::{Context as _, Result};

const START_LIMIT: Duration = Duration::from_secs(10);
/// Another process may take the port between our look and nginx's bind.
const ATTEMPTS: u32 = 3;

/// Starts nginx in front of the upstream; gives the child and its address.
pub fn start(program: &Path, upstream: SocketAddr, dir: &Path) -> Result<(Child, SocketAddr)> {
    let mut attempt = 1;
    loop {
        match attempt_start(program, upstream, dir) {
            Err(_) if attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

fn attempt_start(program: &Path, upstream: SocketAddr, dir: &Path) -> Result<(Child, SocketAddr)> {
    let address = free_address().context("looking for a free port")?;
    let path = dir.join("nginx.conf");
    fs::write(&path, config(address, upstream, dir)).context(format!("writing {}", path.display()))?;
    let mut command = Command::new(program);
    // `-e`: otherwise nginx begins with the log file that was compiled in, which may not be ours to write.
    command.arg("-p").arg(dir).arg("-c").arg(&path).arg("-e").arg(dir.join("error.log"));
    let mut child = Child::start("nginx", command, dir)?;
    child.wait_for("accepting connections", START_LIMIT, || TcpStream::connect(address).ok())?;
    Ok((child, address))
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The version, as nginx tells it.
pub fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("-v").output().context(format!("starting {}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("nginx version: ").to_owned())
}

fn config(address: SocketAddr, upstream: SocketAddr, dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{
    worker_connections 16384;
}}
http {{
    access_log off;
    client_body_temp_path {dir}/client_body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    tcp_nodelay on;
    upstream bench {{
        server {upstream};
        keepalive 4096;
    }}
    server {{
        listen {address} backlog=4096;
        location / {{
            proxy_pass http://bench;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
            proxy_read_timeout 300s;
        }}
    }}
}}
"
    )
}
