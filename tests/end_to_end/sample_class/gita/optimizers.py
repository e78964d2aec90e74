"""Broken: it needs a package that is not there."""

import tensorflow as tf


class SGD(tf.keras.optimizers.SGD):
    pass
