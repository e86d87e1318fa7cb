"""The downstream study: do synthetic images make a classifier of the defect better (section 4.2 of the paper)?"""
