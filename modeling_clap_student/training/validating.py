"""For a `Trainer`: evaluation by a callable that scores the model itself."""

from contextlib import AbstractContextManager, nullcontext

from ..errors import InputError


class ValidatingMixin:
    """Asks `self.validation`, given the model, for its scores at each evaluation."""

    validation = None

    def weights_to_score(self) -> AbstractContextManager:
        """Puts the weights that are scored in place for a while: by default those that learn."""
        return nullcontext()

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Scores the model with `validation`.

        Returns:
            the scores, each named `eval_…`.

        Raises:
            InputError: there is no `validation`, or another dataset is given.
        """
        if self.validation is None or eval_dataset is not None:
            raise InputError(f"what to evaluate on comes with {type(self).__name__}(validation=…) alone")
        with self.weights_to_score():
            scores = self.validation(self.accelerator.unwrap_model(self.model))
        scores = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        self.log(scores)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, scores)
        return scores
