"""Classifies digits one by one with a TensorFlow 1 graph, as batch scoring was written in 2020."""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image


def init():
    global g_tf_sess
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    args, _ = parser.parse_known_args()
    with tf.Graph().as_default() as graph:
        saver = tf.train.import_meta_graph(os.path.join(args.model, "mnist-tf.model.meta"))
        g_tf_sess = tf.Session(graph=graph)
        saver.restore(g_tf_sess, os.path.join(args.model, "mnist-tf.model"))


def run(mini_batch):
    rows = []
    in_tensor = g_tf_sess.graph.get_tensor_by_name("network/X:0")
    output = g_tf_sess.graph.get_tensor_by_name("network/output/MatMul:0")
    for path in mini_batch:
        data = Image.open(path)
        pixels = np.array(data).reshape((1, 784))
        scores = output.eval(feed_dict={in_tensor: pixels}, session=g_tf_sess)
        rows.append("%s: %d" % (os.path.basename(path), np.argmax(scores)))
    return rows
