"""Chapters of the report, in the order of the workflows."""

from __future__ import annotations

from lookalike_indexer.report import of_classes, of_images, of_sets, of_spaces
from lookalike_indexer.report.chapter import Plan

PLANS = (
    Plan(
        1,
        "Clusters of an image through the spaces",
        "lookalike show KEY",
        "One image, the cluster that it is in in each clustering, and how far the clusterings agree.",
        of_images.through_spaces,
    ),
    Plan(
        2,
        "Classes that models know",
        "lookalike classes",
        "How often each model is right about each class, and the classes that all of them know best.",
        of_classes.known_classes,
    ),
    Plan(
        3,
        "Classes and clusters",
        "lookalike matrix",
        "Which classes are in which clusters, which straddle several, and which share one.",
        of_classes.classes_and_clusters,
    ),
    Plan(
        4,
        "Oddballs",
        "lookalike oddballs",
        "Images outside the clusters of their class, far from its middle, or nearer to another class.",
        of_images.oddball_chapter,
    ),
    Plan(
        5,
        "Within a class",
        "lookalike split LABEL",
        "One class clustered by itself, and what lies around each of its groups.",
        of_classes.within_a_class,
    ),
    Plan(
        6,
        "How many clusters",
        "lookalike choose-k",
        "The rules that choose a number of clusters, each with what it says; measured on a sample.",
        of_spaces.number_of_clusters,
    ),
    Plan(
        7,
        "A map of the images",
        "lookalike map --method tsne",
        "The embeddings of a sample on a plane: near images are similar; larger distances have no meaning.",
        of_spaces.mapped,
    ),
    Plan(
        8,
        "Mistakes",
        "lookalike mistakes",
        "Which classes the model confuses, and the misclassified images, the most confident first.",
        of_images.mistaken,
    ),
    Plan(
        9,
        "Explaining a misclassification",
        "lookalike explain KEY --cam --gbp",
        "An image beside those of the class that it is taken for, and those of its own.",
        of_images.explained,
    ),
    Plan(
        10,
        "Evolution over training",
        "lookalike evolution",
        "The checkpoints of a model: which images change groups, neighbors and classes from step to step.",
        of_spaces.followed,
    ),
    Plan(
        11,
        "Spaces and strategies",
        "lookalike compare",
        "The same images in each space, clustered by each strategy; measured on a sample.",
        of_spaces.compared,
    ),
    Plan(
        12,
        "What each cluster is about",
        "lookalike interpret",
        "Central, borderline and random images of each cluster, and a name for it.",
        of_classes.interpreted,
    ),
    Plan(
        13,
        "Near-duplicates",
        "lookalike duplicates",
        "Groups of images that are nearly the same, and the one of each group to keep.",
        of_sets.near_duplicates,
    ),
    Plan(
        14,
        "Leaks between splits",
        "lookalike leaks --split COLUMN",
        "Images of one split, such as train, that have near-duplicates in another, such as test.",
        of_sets.leaked,
    ),
    Plan(
        15,
        "Labels that are likely wrong",
        "lookalike label-issues",
        "Images whose neighbors and predictions speak for another label, and that label.",
        of_sets.wrong_labels,
    ),
    Plan(
        16,
        "Poor images",
        "lookalike quality",
        "Images that are dark, bright, blurry, uniform, tiny or odd in aspect, by measures of their pixels.",
        of_sets.poor_pictures,
    ),
    Plan(
        17,
        "A spread-out sample",
        "lookalike sample -n N",
        "Images that are far from each other, such as for labeling: the most typical first, then the farthest from it.",
        of_sets.spread_out,
    ),
)
