//! A byte stream to one Redis server: TCP, with TLS where the URL says so.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::config::{Node, Redis};

/// What a connection reads and writes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Connects.
///
/// # Errors
/// Those of the network and of TLS.
pub(super) async fn open(node: &Node, tls: Option<&TlsConnector>) -> io::Result<Box<dyn Stream>> {
    let tcp = TcpStream::connect((node.host.as_str(), node.port)).await?;
    // Else a command waits for the acknowledgement of the one before.
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(node.host.clone()).map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, tcp).await?))
}

/// What TLS needs: the configured CA or else the system's, and our certificate if there is one.
///
/// # Errors
/// A file that cannot be read, or does not hold what it should.
pub(super) fn tls(config: &Redis) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.ca_file {
        for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let client = match &config.client_identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate).map_err(io::Error::other)?;
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
            builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?
        }
    };
    Ok(TlsConnector::from(Arc::new(client)))
}
