//! The DynamoDB table: every read and every conditional write is one named function here, and no
//! other module spells an attribute, a key or a condition.
//!
//! One table, single items written alone; four kinds of transactions, for the counting of a message, for a change of
//! the policy with its record and with all items of the ledger, for the end of a lead that holds no line, with its
//! count, and for what leads are promised, with the campaign's count of it:
//!
//! | item | `pk` | `sk` | module |
//! |---|---|---|---|
//! | ledger of a pool | `POOL#main` | `LEDGER#0` | [`ledger`] |
//! | its other items, if it has several | `POOL#main#<n>` | `LEDGER#<n>` | [`ledger`], [`shards`] |
//! | change of its policy | `POOL#main` | `R#<revision>` | [`changes`] |
//! | how well outbound is going | `POOL#main` | `HEALTH` | [`health`] |
//! | campaign | `POOL#main` | `C#<code>` | [`campaigns`] |
//! | lead | `C#<code>` | `L#<ref>` | [`leads`], [`callbacks`] |
//! | campaign message, counted | `C#<code>` | `M#<hash>` | [`campaigns`] |
//! | observed call of a spread ledger, ended call | `CALL#<id>` | `CALL` | [`calls`] |
//! | why a caller found no line | `CALL#<id>` | `REFUSED` | [`refusals`] |
//! | what a campaign waits for | `C#<code>` | `WAITS` | [`refusals`] |
//! | what a person bears: their wish, the dials to them | `PERSON#<number>` | `PERSON` | [`people`] |
//! | who is not to be called | `NOCALL#main` | number | [`people`] |
//! | change of that list by an operator | `NOCALL#main#LOG` | `<milliseconds>#<nonce>` | [`people`] |
//! | usage of one hour, and the checkpoint | `USAGE#main` | `H#<hour>`, `CHECKPOINT` | [`usage`] |
//!
//! The index `ready` (`q`, `due`) holds the leads that are ready, oldest first, and no others: a
//! claimed lead has no `q`; and, where somebody listens, the leads whose end is still to be told ([`events`]), under a `q`
//! of their own. A campaign's warm leads are in a lane of their own there, under another `q`, and so are those
//! who are promised a call; its item says (`lanes`, `cb_made`) whether there may be some, so that nobody else pays a query
//! for them.
//!
//! Losing a race is an outcome, not an error: writes whose condition fails return what stood in
//! the way, from the old item that DynamoDB sends along. The SDK repeats a request that was
//! throttled or not answered, with jitter, a bounded number of times; a write that was applied
//! although its answer was lost is told from a refusal by its own token in the old item.
//!
//! # Releases beside each other
//!
//! While a release is deployed, or rolled back, functions of two releases work on one table, and what one of them has
//! written the other reads. So:
//!
//! - **What is read.** An attribute that nobody here knows is passed over, and one that is absent has a meaning: that of
//!   the releases before it. A new attribute may say more; it may not change what those beside it say, and a name is
//!   never used again for something else.
//! - **What is written.** An item that others extend is changed attribute by attribute and never put anew, so what one
//!   release does not know stays. Whole items are put where there was none (campaign, lead, ledger), and where
//!   the item is one release's own word, made again at the next occasion: the health, why somebody waits, an hour of
//!   usage. Two attributes are written whole all the same: a policy's change counts `own`, `pace` and `whole` anew, and an
//!   edit of a campaign keeps those of its settings that the editing release knows.
//! - **What is one text** (a token, a reserve, a quota, a pace, a breaker) has no room for more: who does not know a part
//!   cannot read it. To spell one in another way is another format.
//!
//! **Another format** is what an older release would misread. The ledger says which one the table has, in `fmt`; without it,
//! the first, so that it costs nothing now. A ledger of a higher number than [`FORMAT`] is refused
//! wherever one is read, with [`TableError::Newer`]: before anything else of it is looked at, in what a refused write
//! brings back as well. So a release that was rolled back too far dials nobody and frees nothing, says so with every
//! message and every pass, and answers callers all the same. What reads no ledger goes on: campaign messages are stored,
//! in the older spelling, and wait. Lower numbers are read.
//!
//! A process of the old release may have read the ledger just before the number was raised, and write afterwards. What moves
//! a line is conditioned on the item's `rev`, so who raises the number raises `rev` in the same transaction, in every
//! item of the ledger: the late write is refused, brings the newer item back, and is given up. Writes of the ledger that do not
//! look at `rev` (a rest, what Vapi said, others' lines, a campaign's counters and its step) each set or count what is theirs alone,
//! and a newer release reads what they leave, as it reads all that is older. The same holds for leads, campaigns and
//! people, whose old spelling has to be read for as long as an invocation lasts, a quarter of an hour, and
//! in fact for good: most of them are never written again.

mod attributes;
mod both;
pub mod callbacks;
pub mod calls;
pub mod campaigns;
pub mod changes;
pub mod events;
pub mod health;
pub mod kpi;
pub mod leads;
pub mod ledger;
pub mod people;
mod queue;
pub mod refusals;
pub mod shards;
pub mod usage;

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::InterceptorContext;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use aws_smithy_types::retry::ErrorKind;

use crate::core::ids::PoolId;
use crate::core::shard::Sizes;
use attributes::Item;

/// The index of ready leads.
const READY_INDEX: &str = "ready";

/// The highest number of a table's format that this release reads. One more for each change that the releases before it
/// would misread; see [Releases beside each other](self#releases-beside-each-other).
pub const FORMAT: u32 = 1;

/// Why the table could not answer. Refusals are outcomes of the functions and never this.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// DynamoDB did not do it, after the SDK's retries. Worth another try later.
    #[error("DynamoDB did not {operation}")]
    Call {
        /// What was asked for.
        operation: &'static str,
        /// DynamoDB's or the network's word.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An item does not say what it must. Somebody else wrote it, or a newer version did.
    #[error("the {item} item cannot be read: {problem}")]
    Item {
        /// Which kind of item.
        item: &'static str,
        /// What is missing or wrong, without its value.
        problem: String,
    },
    /// The ledger moved on under every try. Worth another one later.
    #[error("others kept changing the ledger, and it was not possible to {0}")]
    Contended(&'static str),
    /// The pool's ledger is not there yet.
    #[error("the pool has no ledger; the first function to start creates it")]
    NoLedger,
    /// A later release has been here, and wrote what this one would misread. Nothing is done until that is deployed again.
    #[error(
        "the table is of format {0}, and this release knows {FORMAT} at most, so it leaves lines and leads alone: \
         deploy the newer release again"
    )]
    Newer(u32),
}

impl TableError {
    fn call<E, R>(operation: &'static str) -> impl Fn(SdkError<E, R>) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        move |source| Self::Call { operation, source: Box::new(source) }
    }
}

/// The table of one pool.
#[derive(Debug, Clone)]
pub struct Table {
    client: Client,
    name: String,
    pool: PoolId,
    sizes: Sizes,
    /// Whether what happens is to be told.
    announces: bool,
}

impl Table {
    /// The table `name` as seen by `client`, for one pool.
    pub fn new(client: Client, name: impl Into<String>, pool: PoolId) -> Self {
        let config = client.config().to_builder().retry_classifier(Conflicts).build();
        Self {
            client: Client::from_conf(config),
            name: name.into(),
            pool,
            sizes: Sizes::default(),
            announces: false,
        }
    }

    /// The same with items of the ledger of another size.
    pub fn with_sizes(self, sizes: Sizes) -> Self {
        Self { sizes, ..self }
    }

    /// The same where ends of leads and changes of campaigns are to be told ([`events`]), or not.
    pub fn announcing(self, announces: bool) -> Self {
        Self { announces, ..self }
    }

    /// Whether they are.
    pub fn announces(&self) -> bool {
        self.announces
    }

    /// The pool whose lines this table keeps.
    pub fn pool(&self) -> &PoolId {
        &self.pool
    }

    /// Opens the connection and finds out early whether the table can be reached at all.
    pub async fn warm(&self) -> Result<(), TableError> {
        self.read_checkpoint().await.map(|_| ())
    }

    fn pool_pk(&self) -> String {
        format!("POOL#{}", self.pool)
    }

    /// Creates the table as the template declares it, for the local runner and tests; one that
    /// is there already is left alone.
    pub async fn create(&self) -> Result<(), TableError> {
        let attribute = |name: &str, of: ScalarAttributeType| {
            AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(of)
                .build()
                .expect("name and type are given")
        };
        let key = |name: &str, role: KeyType| {
            KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(role)
                .build()
                .expect("name and role are given")
        };
        let projection = Projection::builder()
            .projection_type(ProjectionType::Include)
            .non_key_attributes("claims")
            .non_key_attributes("tz")
            .build();
        let index = GlobalSecondaryIndex::builder()
            .index_name(READY_INDEX)
            .key_schema(key("q", KeyType::Hash))
            .key_schema(key("due", KeyType::Range))
            .projection(projection)
            .build()
            .expect("name, keys and projection are given");
        let created = self
            .client
            .create_table()
            .table_name(&self.name)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute("pk", ScalarAttributeType::S))
            .attribute_definitions(attribute("sk", ScalarAttributeType::S))
            .attribute_definitions(attribute("q", ScalarAttributeType::S))
            .attribute_definitions(attribute("due", ScalarAttributeType::N))
            .key_schema(key("pk", KeyType::Hash))
            .key_schema(key("sk", KeyType::Range))
            .global_secondary_indexes(index)
            .send()
            .await;
        match created {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => {
                Ok(())
            }
            Err(error) => Err(TableError::call("create the table")(error)),
        }
    }
}

/// A write of an item that a transaction is at work on is refused at once; the SDK does not try that again by
/// itself. It is over within milliseconds, and no caller goes unanswered because somebody changed the policy.
#[derive(Debug)]
struct Conflicts;

/// As long as a transaction of two items takes, amply.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);

impl ClassifyRetry for Conflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error =
            context.output_or_error().and_then(Result::err).and_then(|error| error.as_operation_error());
        let is_conflict = error.is_some_and(|error| {
            let update = error.downcast_ref::<UpdateItemError>();
            let put = error.downcast_ref::<PutItemError>();
            update.is_some_and(UpdateItemError::is_transaction_conflict_exception)
                || put.is_some_and(PutItemError::is_transaction_conflict_exception)
        });
        if is_conflict {
            RetryAction::retryable_error_with_explicit_delay(ErrorKind::TransientError, AFTER_CONFLICT)
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "Conflicts"
    }
}

/// What a conditional write came to.
enum Written {
    /// Applied; the item as it is now, where the write asked for it.
    Applied(Option<Item>),
    /// Its condition did not hold; the item as it was, if there is one.
    Refused(Option<Item>),
}

/// Tells a failed condition from a failed write, for both writing operations.
trait Conditional<T> {
    fn outcome(
        self,
        operation: &'static str,
        applied: impl FnOnce(T) -> Option<Item>,
    ) -> Result<Written, TableError>;
}

macro_rules! conditional {
    ($output:ty, $error:ident) => {
        impl<R> Conditional<$output> for Result<$output, SdkError<$error, R>>
        where
            R: std::fmt::Debug + Send + Sync + 'static,
        {
            fn outcome(
                self,
                operation: &'static str,
                applied: impl FnOnce($output) -> Option<Item>,
            ) -> Result<Written, TableError> {
                match self {
                    Ok(output) => Ok(Written::Applied(applied(output))),
                    Err(SdkError::ServiceError(failed)) => match failed.err() {
                        $error::ConditionalCheckFailedException(refused) => {
                            Ok(Written::Refused(refused.item().cloned()))
                        }
                        _ => Err(TableError::call(operation)(SdkError::ServiceError(failed))),
                    },
                    Err(other) => Err(TableError::call(operation)(other)),
                }
            }
        }
    };
}

conditional!(aws_sdk_dynamodb::operation::update_item::UpdateItemOutput, UpdateItemError);
conditional!(aws_sdk_dynamodb::operation::put_item::PutItemOutput, PutItemError);
