//! Certificates that are made for a test: an own CA, one for a server, one for a client.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

pub(crate) struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes them with openssl.
    pub(crate) fn make() -> Self {
        Self::make_for("localhost")
    }

    /// The same, with this name for the server.
    pub(crate) fn make_for(server: &str) -> Self {
        let certificates = Self { directory: tempfile::tempdir().expect("a directory") };
        let here = certificates.directory.path();
        openssl(
            here,
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
             -subj /CN=test-ca -keyout ca.key -out ca.crt \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign,cRLSign",
        );
        for name in ["server", "client"] {
            std::fs::write(
                here.join(format!("{name}.ext")),
                format!(
                    "subjectAltName=IP:127.0.0.1,DNS:{server}\n\
                     basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n"
                ),
            )
            .expect("a file");
            openssl(
                here,
                &format!(
                    "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
                     -subj /CN={name} -keyout {name}.key -out {name}.csr"
                ),
            );
            openssl(
                here,
                &format!(
                    "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
                     -extfile {name}.ext -out {name}.crt"
                ),
            );
        }
        certificates
    }

    /// The path of one file: `ca.crt`, `server.crt`, `server.key`, `client.crt`, `client.key`.
    pub(crate) fn path(&self, name: &str) -> String {
        let path: PathBuf = self.directory.path().join(name);
        path.to_str().expect("a path in UTF-8").to_owned()
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let status = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("openssl is installed: tests/run does it");
    assert!(status.success(), "openssl {arguments}");
}
