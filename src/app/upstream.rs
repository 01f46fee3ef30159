//! What we call ourselves, beside Redis: the app's key set and the token webhook.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{Options, StartError, persist};
use crate::{
    config::{AppKey, Config},
    crash::{Crash, Part},
    metrics::Metrics,
    revoker::Revoker,
    store::Store,
    tokens::{
        Webhook,
        key_set::{Fetcher, KeySet},
    },
    trace::Tracer,
};

/// Both, where they are configured.
pub(super) struct Upstream {
    key_set: Option<Fetcher>,
    pub(super) webhook: Option<Arc<Webhook>>,
}

/// Their background tasks; a task that has nothing to do never ends.
pub(super) struct Tasks {
    key_set: JoinHandle<()>,
    revoker: JoinHandle<()>,
}

impl Upstream {
    /// Fetches the key set; does not call the webhook.
    ///
    /// # Errors
    /// [`StartError::KeySet`], [`StartError::Webhook`].
    pub(super) async fn reach(
        config: &Config,
        options: &Options,
        metrics: &Arc<Metrics>,
        tracer: Option<Arc<Tracer>>,
    ) -> Result<Self, StartError> {
        let (clock, refresh) = (&options.clock, options.key_set_refresh);
        let key_set = match &config.app_keys.current {
            AppKey::Jwks(url) => {
                let fetcher = Fetcher::new(url.clone(), refresh, metrics.clone(), clock.clone());
                let fetcher = fetcher.map_err(StartError::KeySet)?;
                let fetched = persist("the app's key set", || fetcher.fetch()).await;
                fetched.map_err(StartError::KeySet)?;
                Some(fetcher)
            }
            AppKey::Secret(_) | AppKey::Public(_) => None,
        };
        let webhook = Webhook::new(config, metrics.clone(), clock.clone(), tracer);
        Ok(Self { key_set, webhook: webhook.map_err(StartError::Webhook)?.map(Arc::new) })
    }

    /// The app's keys, for those who verify.
    pub(super) fn key_set(&self) -> Option<KeySet> {
        self.key_set.as_ref().map(Fetcher::key_set)
    }

    /// Starts the tasks on this thread, whose store that is.
    pub(super) fn start(self, store: Store, metrics: Arc<Metrics>, crash: &Crash) -> Tasks {
        let Self { key_set, webhook } = self;
        let key_set = async move {
            match key_set {
                Some(fetcher) => fetcher.run().await,
                None => std::future::pending().await,
            }
        };
        let revoker = async move {
            match webhook {
                Some(webhook) => Revoker::new(store, metrics).run(webhook).await,
                None => std::future::pending().await,
            }
        };
        Tasks {
            key_set: actix_rt::spawn(until(crash.clone(), Part::KeySet, key_set)),
            revoker: actix_rt::spawn(until(crash.clone(), Part::Revoker, revoker)),
        }
    }
}

async fn until(crash: Crash, part: Part, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        () = crash.comes(part) => {}
    }
}

impl Tasks {
    /// Which of them has died, as soon as one has.
    pub(super) async fn died(&mut self) -> Part {
        tokio::select! {
            _ = &mut self.key_set => Part::KeySet,
            _ = &mut self.revoker => Part::Revoker,
        }
    }
}
