//! PgBouncer in transaction mode, in front of a cluster, and gone with the test that started it.

use std::path::Path;
use std::process::Child;

use super::postgres::{Cluster, folder, free_port, keeper};

/// A running PgBouncer.
pub struct Pooler {
    pub port: u16,
    keeper: Option<Child>,
}

impl Pooler {
    /// One in front of a cluster, with more lines for its settings.
    pub fn before(cluster: &Cluster, settings: &str) -> Self {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
        let program = program.into_iter().find(|program| Path::new(program).exists());
        let program = program.expect("no PgBouncer; `scripts/test` installs one");
        let (folder, port) = (folder("tl-pgb"), free_port());
        let script = SCRIPT
            .replace("@program", program)
            .replace("@folder", folder.to_str().expect("a path of ASCII"))
            .replace("@port", &port.to_string())
            .replace("@server", &cluster.port.to_string())
            .replace("@settings", settings);
        Self { port, keeper: Some(keeper(&script, &folder)) }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

const SCRIPT: &str = "
cd @folder
cat >ini <<'end'
[databases]
* = host=127.0.0.1 port=@server user=owner
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @port
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
logfile = log
@settings
end
@program -q ini >out 2>&1 &
for _ in $(seq 200); do
    grep -q 'process up' log 2>/dev/null && echo ready && break
    sleep 0.05
done
while read -r word; do :; done
kill -9 $!
cd / && rm -rf @folder
";
