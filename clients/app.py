"""The market's Flower ClientApp: which task answers which message."""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients import tasks
from clients.messages import answer

app = ClientApp()


@app.query("hello")
def hello(message: Message, context: Context) -> Message:
    """Who is there."""
    return answer(message, context, tasks.hello)


@app.query("catalogue")
def catalogue(message: Message, context: Context) -> Message:
    """Item keys and pair counts, where the semantics need them."""
    return answer(message, context, tasks.catalogue)


@app.query("install")
def install(message: Message, context: Context) -> Message:
    """Receive semantic vectors."""
    return answer(message, context, tasks.install)


@app.train("pretrain")
def pretrain(message: Message, context: Context) -> Message:
    """One federated round."""
    return answer(message, context, tasks.pretrain)


@app.train("finetune")
def finetune(message: Message, context: Context) -> Message:
    """Stage two."""
    return answer(message, context, tasks.finetune)


@app.train("local")
def train_local(message: Message, context: Context) -> Message:
    """The local-only twin."""
    return answer(message, context, tasks.train_local)


@app.evaluate("validate")
def validate(message: Message, context: Context) -> Message:
    """The shared model on validation users."""
    return answer(message, context, tasks.validate)


@app.evaluate("report")
def report(message: Message, context: Context) -> Message:
    """All methods on test users."""
    return answer(message, context, tasks.report)
