import os

import numpy as np
from azureml.core import Model
from PIL import Image


def init():
    global weights
    model_path = Model.get_model_path("mnist-prs")
    weights = np.load(os.path.join(model_path, "weights.npz"))


def run(mini_batch):
    print(f"run method start: {__file__}, run({mini_batch})")
    result_list = []
    for image in mini_batch:
        pixels = np.asarray(Image.open(image), np.float64).reshape(1, -1)
        scores = pixels @ weights["coef"].T + weights["intercept"]
        result_list.append(f"{os.path.basename(image)}: {int(np.argmax(scores))}")
    return result_list
