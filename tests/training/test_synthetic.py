import numpy as np

from ebbench.training.data import synthetic


def test_the_images_are_cifar_shaped_and_the_classes_even():
    arrays = synthetic.images()
    assert arrays.x_train.shape == (2000, 32, 32, 3)
    assert arrays.x_test.shape == (500, 32, 32, 3)
    assert arrays.x_train.dtype == arrays.x_test.dtype == np.uint8
    assert (np.bincount(arrays.y_train) == 200).all()
    assert (np.bincount(arrays.y_test) == 50).all()


def test_no_test_image_is_a_training_image():
    arrays = synthetic.images()
    train = {image.tobytes() for image in arrays.x_train}
    assert len(train) == 2000
    assert not any(image.tobytes() in train for image in arrays.x_test)


def test_the_images_span_the_range_without_saturating():
    pixels = synthetic.images().x_train
    assert 0.15 < pixels.std() / 255 < 0.25
    assert ((pixels == 0) | (pixels == 255)).mean() < 0.02


def test_the_nearest_class_mean_does_better_than_chance_but_not_well():
    arrays = synthetic.images()
    x_train, x_test = (x.reshape(len(x), -1).astype(np.float32) for x in (arrays.x_train, arrays.x_test))
    means = np.stack([x_train[arrays.y_train == c].mean(0) for c in range(10)])
    distances = (means**2).sum(1) - 2 * x_test @ means.T
    accuracy = (distances.argmin(1) == arrays.y_test).mean()
    assert 0.2 < accuracy < 0.75
